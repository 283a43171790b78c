"""A registry and its S3, killed while versions come, move and go; and what must hold after it."""

from __future__ import annotations

import asyncio
import random
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TypeVar

import grpc
from roundhouse.registry.v1 import model_pb2, retention_pb2
from roundhouse.registry.v1 import model_service_pb2 as models_pb
from roundhouse.registry.v1 import retention_service_pb2 as retention_pb

from services.common.blobs.content import ContentStore
from services.common.blobs.opening import open_blob_store
from services.common.blobs.staging import Staging
from services.common.clock import utc_now
from tests.support.bundles import TinyModel, tiny_files
from tests.support.faulty_s3 import FaultyS3, faulty_s3
from tests.support.processes import ServerFailedToStart
from tests.support.registry_api import (
    MANIFEST,
    PROJECT,
    RegistryCaller,
    digest_of,
    manifest_of,
)
from tests.support.registry_process import RegistryProcess
from tests.support.seaweedfs import BUCKET, S3Server

T = TypeVar("T")

State = model_pb2.ModelVersion.State
MODEL = f"{PROJECT}/models/delays"
LIVE = f"{MODEL}/aliases/live"
PASSING = frozenset(
    {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.DATA_LOSS,
    }
)
"""Codes after which a caller sends the same request again."""

_BIG = b"".join(b"%015x\n" % number for number in range(560_000))
"""Over one part of a multipart upload: 8.5 MiB."""

_WRITERS = 3
_FAULTY = 0.08
_CALL_S = 20.0


@dataclass
class Evidence:
    """What callers were told, and what is there in the end.

    Attributes:
        begun: Versions that a caller was told of.
        committed: Digest of each file of each version that a caller was told is READY.
        moves: Reason of each move that a caller was told of.
        listed: State of each version that the registry lists.
        needed: Contents that the listed versions need.
        readable: Of those, the ones that come whole from the registry.
        listed_moves: Reasons of the moves that the registry lists.
        live: Version that the alias points at; empty without one.
        stored: Contents in the store.
        leftovers: Unfinished uploads in the store.
    """

    begun: list[str] = field(default_factory=list)
    committed: dict[str, Mapping[str, str]] = field(default_factory=dict)
    moves: list[str] = field(default_factory=list)
    listed: dict[str, int] = field(default_factory=dict)
    needed: set[str] = field(default_factory=set)
    readable: set[str] = field(default_factory=set)
    listed_moves: list[str] = field(default_factory=list)
    live: str = ""
    stored: set[str] = field(default_factory=set)
    leftovers: list[str] = field(default_factory=list)

    def violations(self) -> list[str]:
        """A sentence for each thing that must not be."""
        return [*self._losses(), *self._duplicates(), *self._leaks()]

    def _losses(self) -> Iterator[str]:
        for name in self.committed:
            if self.listed.get(name) not in (State.STATE_READY, State.STATE_DELETED):
                yield f"{name} was committed and is {self.listed.get(name, 'gone')}"
        for digest in sorted(self.needed - self.readable):
            yield f"{digest} is needed and can't be read"
        for reason in self.moves:
            if reason not in self.listed_moves:
                yield f"the move {reason} was acknowledged and is not on record"
        if self.live and self.listed.get(self.live) != State.STATE_READY:
            yield f"{self.live} is live and not READY"

    def _duplicates(self) -> Iterator[str]:
        for name in sorted(self.listed.keys() - set(self.begun)):
            yield f"{name} came of no request, or is the second of one"
        for name, count in Counter(self.begun).items():
            if count > 1:
                yield f"{name} was given to {count} requests"
        for reason, count in Counter(self.listed_moves).items():
            if count > 1:
                yield f"the move {reason} happened {count} times"

    def _leaks(self) -> Iterator[str]:
        for digest in sorted(self.stored - self.needed):
            yield f"{digest} is stored and nothing needs it"
        for key in self.leftovers:
            yield f"{key} was left behind"


@dataclass
class KilledRegistry:
    """One round.

    Attributes:
        kills: Of the registry and of the S3, by the work that was under way.
        faults: Requests to the S3 by what happened to them.
        collected: Versions that collections removed.
    """

    seed: int
    evidence: Evidence
    kills: Counter[str]
    faults: Mapping[str, int]
    collected: int

    @property
    def violations(self) -> list[str]:
        """What must not be."""
        return self.evidence.violations()


class Round:
    """Work on one registry, and its kills.

    Args:
        s3: Below the registry.
        proxy: Between the two.
        registry: The process.
        seed: Of every draw.
    """

    def __init__(self, s3: S3Server, proxy: FaultyS3, registry: RegistryProcess, seed: int) -> None:
        self._s3 = s3
        self._proxy = proxy
        self._registry = registry
        self._random = random.Random(seed)
        self._doing: Counter[str] = Counter()
        self._over = asyncio.Event()
        self.evidence = Evidence()
        self.kills: Counter[str] = Counter()

    async def run(self, kills: int) -> None:
        """Work under so many kills, then let all that was begun end well."""
        async with self._registry.caller() as caller:
            await caller.create_model(retention_policy=retention_pb2.RetentionPolicy(keep_last=2))
            self._proxy.share = _FAULTY
            async with asyncio.TaskGroup() as work:
                for number in range(_WRITERS):
                    work.create_task(self._write(caller, number))
                work.create_task(self._move(caller))
                work.create_task(self._collect(caller))
                work.create_task(self._kill(kills))
            self._proxy.share = 0.0
            self._proxy.wait_for_late()
            await asyncio.sleep(0.1)
            await self._collect_all(caller)

    async def _kill(self, kills: int) -> None:
        for _ in range(kills):
            await asyncio.sleep(self._random.uniform(0.0, 0.7))
            doing = ",".join(sorted(+self._doing)) or "nothing"
            # In this thread: the kernel ends the processes with the thread that started them.
            if self._random.random() < 0.75:
                self.kills[f"registry: {doing}"] += 1
                self._proxy.share = 0.0  # a registry refuses to start on a store that fails
                self._registry.kill_and_restart()
                self._proxy.share = _FAULTY
            else:
                self.kills[f"S3: {doing}"] += 1
                self._s3.kill()
                _restarted(self._s3)
        self._over.set()

    @contextmanager
    def _at(self, what: str) -> Iterator[None]:
        self._doing[what] += 1
        try:
            yield
        finally:
            self._doing[what] -= 1

    async def _patiently(self, call: Callable[[], Awaitable[T]]) -> T:
        """What the call gives, sent again as long as it may help."""
        while True:
            try:
                return await call()
            except grpc.aio.AioRpcError as error:
                if error.code() not in PASSING:
                    raise
            await asyncio.sleep(0.05)

    async def _write(self, caller: RegistryCaller, writer: int) -> None:
        number = 0
        while not self._over.is_set():
            number += 1
            with self._at("upload"):
                await self._one_version(caller, f"{writer}.{number}")

    async def _one_version(self, caller: RegistryCaller, label: str) -> None:
        begin = models_pb.BeginVersionUploadRequest(
            parent=MODEL,
            version=model_pb2.ModelVersion(labels={"writer": label}),
            request_id=str(uuid.uuid4()),
        )
        version = await self._patiently(
            lambda: caller.models.BeginVersionUpload(begin, timeout=_CALL_S)
        )
        self.evidence.begun.append(version.name)
        files = self._files()
        manifest = manifest_of(files)
        for path, data in {**files, MANIFEST: manifest}.items():
            request_id = str(uuid.uuid4())
            await self._patiently(
                lambda path=path, data=data, request_id=request_id: caller.upload_artifact(  # type: ignore[misc]
                    version.name, path, data, request_id=request_id
                )
            )
        if self._random.random() < 0.2:
            abort = models_pb.AbortVersionUploadRequest(
                name=version.name, request_id=str(uuid.uuid4())
            )
            await self._patiently(lambda: caller.models.AbortVersionUpload(abort, timeout=_CALL_S))
            return
        commit = models_pb.CommitVersionRequest(
            name=version.name, manifest_digest=digest_of(manifest), request_id=str(uuid.uuid4())
        )
        with self._at("commit"):
            await self._patiently(lambda: caller.models.CommitVersion(commit, timeout=_CALL_S))
        self.evidence.committed[version.name] = {p: digest_of(d) for p, d in files.items()}

    def _files(self) -> dict[str, bytes]:
        """Of a few contents, so that versions share them and bring back collected ones."""
        files = _tiny(self._random.randrange(8))
        files["card.md"] = b"card %d" % self._random.randrange(4)
        files["native/weights.txt"] = b"weights %d" % self._random.randrange(6)
        if self._random.random() < 0.1:
            files["native/big.txt"] = _BIG[self._random.randrange(2) :]
        return files

    async def _move(self, caller: RegistryCaller) -> None:
        number = 0
        while not self._over.is_set():
            await asyncio.sleep(0.02)
            committed = list(self.evidence.committed)
            if not committed:
                continue
            number += 1
            target = committed[-1] if self._random.random() < 0.7 else committed[-2:][0]
            request = models_pb.MoveAliasesRequest(
                moves=[
                    models_pb.MoveAliasesRequest.Move(
                        alias=LIVE, to_version=target, expected_version=self.evidence.live
                    )
                ],
                actor="mover",
                reason=f"move {number}",
                request_id=str(uuid.uuid4()),
            )
            with self._at("move"):
                try:
                    await self._patiently(
                        lambda request=request: caller.models.MoveAliases(  # type: ignore[misc]
                            request, timeout=_CALL_S
                        )
                    )
                except grpc.aio.AioRpcError as error:
                    # It was collected before the alias could keep it.
                    assert error.code() is grpc.StatusCode.FAILED_PRECONDITION, error
                    continue
            self.evidence.live = target
            self.evidence.moves.append(request.reason)

    async def _collect(self, caller: RegistryCaller) -> None:
        while not self._over.is_set():
            with self._at("collection"):
                await self._one_collection(caller)
            await asyncio.sleep(0.1)

    async def _one_collection(self, caller: RegistryCaller) -> retention_pb2.CollectionPlan:
        ask = retention_pb.PlanGarbageCollectionRequest(
            parent=PROJECT, actor="collector", request_id=str(uuid.uuid4())
        )
        plan = await self._patiently(
            lambda: caller.retention.PlanGarbageCollection(ask, timeout=_CALL_S)
        )
        begin = retention_pb.RunGarbageCollectionRequest(
            name=plan.name, digest=plan.digest, request_id=str(uuid.uuid4())
        )
        await self._patiently(lambda: caller.retention.RunGarbageCollection(begin, timeout=_CALL_S))
        while True:
            found = await self._patiently(lambda: caller.plan(plan.name))
            if found.state == retention_pb2.CollectionPlan.STATE_SUCCEEDED:
                return found
            await asyncio.sleep(0.05)

    async def _collect_all(self, caller: RegistryCaller) -> None:
        """Collect until nothing is left to collect."""
        async with asyncio.timeout(120):
            while True:
                found = await self._one_collection(caller)
                planned = found.planned
                left = (planned.versions, planned.blobs, planned.partial_uploads, found.skipped)
                if not any(left):
                    return


def _restarted(s3: S3Server, attempts: int = 5) -> None:
    """Bring it back; after a kill SeaweedFS now and then dies once more while it starts."""
    for _ in range(attempts - 1):
        with suppress(ServerFailedToStart):
            s3.restart()
            return
    s3.restart()


@cache
def _model(bias: int) -> Mapping[str, bytes]:
    return tiny_files(TinyModel(float(bias)))


def _tiny(bias: int) -> dict[str, bytes]:
    return dict(_model(bias))


async def run_killed_registry(
    folder: Path, s3: S3Server, database_url: str, *, seed: int, kills: int
) -> KilledRegistry:
    """One round on a fresh database and prefix."""
    url = f"s3://{BUCKET}/{uuid.uuid4().hex}"
    with faulty_s3(s3.address, seed) as proxy:
        registry = RegistryProcess(
            folder,
            {
                "database_url": database_url,
                "blob_url": url,
                "s3_endpoint": proxy.address,
                "s3_access_key": s3.connection.access_key,
                "s3_secret_key": s3.connection.secret_key,
                "s3_secure": "false",
                "removal_lifetime_s": "1",
                "store_clock_skew_s": "0.2",
                "abandoned_upload_age_s": "0",
            },
        )
        try:
            work = Round(s3, proxy, registry, seed)
            await work.run(kills)
            async with registry.caller() as caller:
                await gather(work.evidence, caller, s3, url)
        finally:
            registry.stop()
        faults = {fault.value: count for fault, count in proxy.seen.items()}
    collected = sum(state == State.STATE_DELETED for state in work.evidence.listed.values())
    return KilledRegistry(seed, work.evidence, work.kills, faults, collected)


async def gather(evidence: Evidence, caller: RegistryCaller, s3: S3Server, url: str) -> None:
    """Note what is there."""
    for version in await _versions(caller):
        evidence.listed[version.name] = version.state
        if version.state != State.STATE_READY:
            continue
        digests = {file.path: file.digest for file in version.files}
        evidence.needed |= {*digests.values(), version.digest}
        for path, digest in {**digests, MANIFEST: version.digest}.items():
            if await _is_whole(caller, version.name, path, digest):
                evidence.readable.add(digest)
    evidence.listed_moves = await _moves(caller)
    async with open_blob_store(url, connection=s3.connection) as store:
        contents = ContentStore(store)
        evidence.stored = {found.digest for found in await contents.all()}
        unfinished = [found.key for found in await contents.unfinished()]
        staged = [found.key for found in await Staging(store, utc_now).unfinished()]
        evidence.leftovers = [*unfinished, *staged]


async def _versions(caller: RegistryCaller) -> Sequence[model_pb2.ModelVersion]:
    found: list[model_pb2.ModelVersion] = []
    token = ""
    while True:
        request = models_pb.ListVersionsRequest(parent=MODEL, page_size=1000, page_token=token)
        page = await caller.models.ListVersions(request, timeout=_CALL_S)
        found += page.versions
        token = page.next_page_token
        if not token:
            return found


async def _moves(caller: RegistryCaller) -> list[str]:
    found: list[str] = []
    token = ""
    while True:
        request = models_pb.ListAliasMovesRequest(parent=MODEL, page_size=1000, page_token=token)
        page = await caller.models.ListAliasMoves(request, timeout=_CALL_S)
        found += [move.reason for move in page.moves]
        token = page.next_page_token
        if not token:
            return found


async def _is_whole(caller: RegistryCaller, version: str, path: str, digest: str) -> bool:
    request = models_pb.DownloadArtifactRequest(version=version, path=path)
    try:
        parts = caller.models.DownloadArtifact(request, timeout=_CALL_S)
        data = b"".join([part.chunk async for part in parts])
    except grpc.aio.AioRpcError:
        return False
    return digest_of(data) == digest
