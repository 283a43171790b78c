"""Every stored object of a registry, damaged in each way in turn, and who notices."""

from __future__ import annotations

import asyncio
import shutil
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import numpy as np
from roundhouse.registry.v1 import dataset_service_pb2 as datasets_pb
from roundhouse.registry.v1 import model_pb2
from roundhouse.registry.v1 import model_service_pb2 as models_pb

from services.common.blobs.content import content_key
from services.common.blobs.digests import digest_of, once, parse_digest
from services.common.blobs.opening import open_blob_store
from services.common.blobs.port import BlobStore
from services.common.blobs.s3 import S3Connection
from services.common.clock import utc_now
from services.common.errors import ServiceError
from services.common.rpc.client import connect
from services.common.rpc.pins import RegistryPins
from services.inference.adapters.bundles import BundleFolder
from services.inference.adapters.registry_client import RegistryClient
from services.inference.core.endpoints import Runtime
from services.registry.adapters.records.rebuilding import RebuildReport
from services.registry.core.storage_layout import CONTENTS, RECORDS, sequence_of
from services.registry.settings import RegistrySettings
from services.registry.wiring import rebuild_metadata
from tests.support.bundles import TinyModel, tiny_files
from tests.support.calls import TIMEOUT_S, request_id
from tests.support.damage import Damage, damage
from tests.support.registry_api import MANIFEST, RegistryCaller, manifest_of, running_registry
from tests.support.serving import data_plane


@dataclass(frozen=True)
class Owner:
    """One place where an object's bytes are promised: a file of a version or snapshot."""

    name: str
    path: str
    is_version: bool


@dataclass
class Tally:
    """What became of the objects damaged in one way.

    Attributes:
        counts: Of objects damaged, reads refused, reads that gave a wrong file, loads
            refused, predictions served, faults named exactly, versions restored.
    """

    counts: Counter[str] = field(default_factory=Counter)


@dataclass
class Outcome:
    """Of one backend: tallies by damage, and each thing that should not have happened."""

    tallies: dict[Damage, Tally] = field(default_factory=lambda: defaultdict(Tally))
    violations: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Place:
    """Where a registry's bytes are."""

    blob_url: str
    connection: S3Connection | None = None

    def settings(self) -> dict[str, object]:
        """As the registry is told."""
        if self.connection is None:
            return {"blob_url": self.blob_url}
        return {
            "blob_url": self.blob_url,
            "s3_endpoint": self.connection.endpoint,
            "s3_access_key": self.connection.access_key,
            "s3_secret_key": self.connection.secret_key,
            "s3_secure": self.connection.secure,
            "s3_region": self.connection.region,
        }


async def run_corruption(
    root: Path, place: Place, *, versions: int, snapshots: int, records: bool = True
) -> Outcome:
    """Fill a registry, then damage and mend each of its objects in each way.

    Args:
        root: Empty folder for everything but the bytes.
        place: For the bytes; empty.
        versions: How many are committed.
        snapshots: How many are sealed.
        records: Whether records are damaged, too; each costs a rebuild.
    """
    outcome = Outcome()
    async with (
        running_registry(root / "registry", **place.settings()) as caller,
        open_blob_store(place.blob_url, connection=place.connection) as store,
        connect(caller.address) as channel,
    ):
        round_of = _Round(
            root,
            caller,
            RegistryClient(channel, RegistryPins(channel, "endpoints", utc_now)),
            store,
            outcome,
        )
        await round_of.fill(versions, snapshots)
        if records:
            await _damage_records(root, place, store, outcome)
        for how in Damage:
            for key in sorted(round_of.owners):
                await round_of.damage(key, how)
    return outcome


class _Round:
    def __init__(
        self,
        root: Path,
        caller: RegistryCaller,
        client: RegistryClient,
        store: BlobStore,
        outcome: Outcome,
    ) -> None:
        self._root = root
        self._caller = caller
        self._client = client
        self._store = store
        self._outcome = outcome
        self._digests: dict[str, str] = {}
        self.owners: dict[str, list[Owner]] = {}

    async def fill(self, versions: int, snapshots: int) -> None:
        """Versions that share some files, and snapshots; every object must have an owner."""
        model = await self._caller.create_model()
        found: dict[str, list[Owner]] = defaultdict(list)
        for number in range(versions):
            rng = np.random.default_rng(number)
            files = {
                **tiny_files(TinyModel(float(number))),
                "native/weights.data": rng.bytes(2_500_000),  # three chunks on the wire
            }
            name = await self._caller.ready_version(model, files)
            version = await self._version(name)
            self._digests[name] = version.digest
            for path, digest in [
                *((file.path, file.digest) for file in version.files),
                (MANIFEST, version.digest),
            ]:
                found[content_key(parse_digest(digest))].append(Owner(name, path, True))
            assert digest == digest_of(manifest_of(files))
        for number in range(snapshots):
            rows = b"x,y\n" + b"".join(b"%d,%d\n" % (row, number) for row in range(1000))
            name = await self._caller.sealed_snapshot(f"s{number}", rows)
            snapshot = await self._caller.datasets.GetSnapshot(
                datasets_pb.GetSnapshotRequest(name=name), timeout=TIMEOUT_S
            )
            for file in snapshot.files:
                found[content_key(parse_digest(file.digest))].append(Owner(name, file.path, False))
        stored = {info.key for info in await self._store.list_blobs(CONTENTS)}
        assert stored == set(found), "an object has no owner, or a file no object"
        self.owners = dict(found)

    async def damage(self, key: str, how: Damage) -> None:
        """Damage one object, see who notices, and mend it."""
        keys = sorted(self.owners)
        other = keys[(keys.index(key) + 1) % len(keys)]
        whole = await damage(self._store, key, how, other)
        counts = self._outcome.tallies[how].counts
        counts["objects"] += 1
        for owner in self.owners[key]:
            await self._read(owner, how)
        versions = [owner for owner in self.owners[key] if owner.is_version]
        for owner in versions:
            await self._load(owner, how)
        for name in self._digests:
            expected = sorted(owner.path for owner in versions if owner.name == name)
            await self._verify(name, expected, how)
        if versions:
            await self._restore(versions, whole, how)
        else:
            await self._store.put(key, once(whole))
        for owner in self.owners[key]:
            if await self._received(owner) != whole:
                self._violated(how, f"{owner.path} of {owner.name} is not whole once mended")

    async def _read(self, owner: Owner, how: Damage) -> None:
        try:
            await self._received(owner)
        except grpc.aio.AioRpcError:
            self._outcome.tallies[how].counts["reads refused"] += 1
        else:
            self._outcome.tallies[how].counts["wrong files"] += 1
            self._violated(how, f"a client got {owner.path} of {owner.name} to its end")

    async def _received(self, owner: Owner) -> bytes:
        if owner.is_version:
            stream = self._caller.models.DownloadArtifact(
                models_pb.DownloadArtifactRequest(version=owner.name, path=owner.path),
                timeout=TIMEOUT_S,
            )
        else:
            stream = self._caller.datasets.DownloadSnapshotFile(
                datasets_pb.DownloadSnapshotFileRequest(snapshot=owner.name, path=owner.path),
                timeout=TIMEOUT_S,
            )
        return b"".join([part.chunk async for part in stream])

    async def _load(self, owner: Owner, how: Damage) -> None:
        """A server without a cache tries to serve the version."""
        counts = self._outcome.tallies[how].counts
        cache = self._root / "cache"
        shutil.rmtree(cache, ignore_errors=True)
        async with data_plane(self._root, bundles=BundleFolder(cache, self._client)) as plane:
            try:
                async with plane.host.on_trial(
                    Runtime.ONNX_RUNTIME, owner.name, self._digests[owner.name]
                ):
                    counts["predictions"] += 1
                    self._violated(how, f"{owner.name} was served with a damaged {owner.path}")
            except ServiceError as error:
                counts["loads refused"] += 1
                if owner.path not in str(error):
                    self._violated(how, f"the refusal to load does not name {owner.path}: {error}")

    async def _verify(self, name: str, expected: Sequence[str], how: Damage) -> None:
        answer = await self._caller.models.VerifyVersion(
            models_pb.VerifyVersionRequest(name=name, request_id=request_id()), timeout=TIMEOUT_S
        )
        named = [fault.path for fault in answer.faults]
        quarantined = answer.version.state == model_pb2.ModelVersion.STATE_QUARANTINED
        if named == list(expected) and quarantined == bool(expected):
            self._outcome.tallies[how].counts["named exactly"] += len(expected)
        else:
            self._violated(how, f"{name}: named {named}, damaged {expected}")

    async def _restore(self, owners: Sequence[Owner], whole: bytes, how: Damage) -> None:
        """The first owner's repair mends the others, which share the object."""
        request_type = models_pb.RepairArtifactRequest
        header = request_type.Header(
            version=owners[0].name,
            path=owners[0].path,
            digest=digest_of(whole),
            request_id=request_id(),
        )
        chunks = [whole[at : at + 2**20] for at in range(0, len(whole), 2**20)]
        parts = [request_type(header=header), *(request_type(chunk=chunk) for chunk in chunks)]
        await self._caller.models.RepairArtifact(parts, timeout=TIMEOUT_S)
        for name in sorted({owner.name for owner in owners}):
            restored = await self._caller.models.RestoreVersion(
                models_pb.RestoreVersionRequest(name=name, request_id=request_id()),
                timeout=TIMEOUT_S,
            )
            if restored.state == model_pb2.ModelVersion.STATE_READY:
                self._outcome.tallies[how].counts["restored"] += 1

    async def _version(self, name: str) -> model_pb2.ModelVersion:
        return await self._caller.models.GetVersion(
            models_pb.GetVersionRequest(name=name), timeout=TIMEOUT_S
        )

    def _violated(self, how: Damage, text: str) -> None:
        self._outcome.violations.append(f"{how}: {text}")


async def _damage_records(root: Path, place: Place, store: BlobStore, outcome: Outcome) -> None:
    """A rebuild names each damaged record.

    But for the newest, deleted: nothing tells of it then but the database.
    """
    keys = [info.key for info in await store.list_blobs(RECORDS)]
    for how in Damage:
        counts = outcome.tallies[how].counts
        for number, key in enumerate(keys):
            if how is Damage.DELETED and key == keys[-1]:
                continue
            whole = await damage(store, key, how, keys[number - 1])
            report = await _rebuilt(root / "rebuilt", place)
            counts["records"] += 1
            if any(str(sequence_of(key)) in fault for fault in report.lost):
                counts["records named"] += 1
            else:
                outcome.violations.append(f"{how}: record {sequence_of(key)} was not missed")
            await store.put(key, once(whole))
    if (await _rebuilt(root / "rebuilt", place)).lost:
        outcome.violations.append("a rebuild from whole records lost something")


async def _rebuilt(folder: Path, place: Place) -> RebuildReport:
    await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
    settings = RegistrySettings.model_validate({"data_dir": folder, **place.settings()})
    return await rebuild_metadata(settings)
