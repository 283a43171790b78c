"""A registry and its S3, killed while versions come, move and go."""

from __future__ import annotations

import asyncio
import random
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TypeVar

import grpc
from roundhouse.registry.v1 import model_pb2, retention_pb2
from roundhouse.registry.v1 import model_service_pb2 as models_pb
from roundhouse.registry.v1 import retention_service_pb2 as retention_pb

from services.registry.api import claims
from tests.support.bundles import TinyModel, tiny_files
from tests.support.calls import PROJECT
from tests.support.faulty_s3 import FaultyS3, faulty_s3
from tests.support.processes import ServerFailedToStart
from tests.support.registry_api import MANIFEST, RegistryCaller, digest_of, manifest_of
from tests.support.registry_process import RegistryProcess
from tests.support.seaweedfs import BUCKET, S3Server
from tests.system.registry_evidence import CALL_S, MODEL, Evidence, State, gather

T = TypeVar("T")

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
PASSING_UPLOAD = PASSING | {grpc.StatusCode.ABORTED}
"""Also when the stream before, which was given up, dropped what had arrived meanwhile."""

_BIG = b"".join(b"%015x\n" % number for number in range(560_000))
"""Over one part of a multipart upload: 8.5 MiB."""

_WRITERS = 3
_FAULTY = 0.08


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
            await self.collect_all(caller)

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

    async def _patiently(
        self,
        call: Callable[[], Awaitable[T]],
        passing: frozenset[grpc.StatusCode] = PASSING,
    ) -> T:
        """What the call gives, sent again as long as it may help."""
        while True:
            try:
                return await call()
            except grpc.aio.AioRpcError as error:
                if error.code() not in passing:
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
            lambda: caller.models.BeginVersionUpload(begin, timeout=CALL_S)
        )
        self.evidence.begun.append(version.name)
        files = self._files()
        manifest = manifest_of(files)
        for path, data in {**files, MANIFEST: manifest}.items():
            request_id = str(uuid.uuid4())
            await self._patiently(
                lambda path=path, data=data, request_id=request_id: caller.upload_artifact(  # type: ignore[misc]
                    version.name, path, data, request_id=request_id
                ),
                PASSING_UPLOAD,
            )
        if self._random.random() < 0.2:
            abort = models_pb.AbortVersionUploadRequest(
                name=version.name, request_id=str(uuid.uuid4())
            )
            await self._patiently(lambda: caller.models.AbortVersionUpload(abort, timeout=CALL_S))
            return
        commit = models_pb.CommitVersionRequest(
            name=version.name, manifest_digest=digest_of(manifest), request_id=str(uuid.uuid4())
        )
        with self._at("commit"):
            await self._patiently(lambda: caller.models.CommitVersion(commit, timeout=CALL_S))
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
                            request, timeout=CALL_S
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
            lambda: caller.retention.PlanGarbageCollection(ask, timeout=CALL_S)
        )
        begin = retention_pb.RunGarbageCollectionRequest(
            name=plan.name, digest=plan.digest, request_id=str(uuid.uuid4())
        )
        await self._patiently(lambda: caller.retention.RunGarbageCollection(begin, timeout=CALL_S))
        while True:
            found = await self._patiently(lambda: caller.plan(plan.name))
            if found.state == retention_pb2.CollectionPlan.STATE_SUCCEEDED:
                return found
            await asyncio.sleep(0.05)

    async def collect_all(self, caller: RegistryCaller) -> None:
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
                if list(work.evidence.leaks()):
                    # A claim that PostgreSQL committed for a registry that was dead by then.
                    await asyncio.sleep(claims.TTL.total_seconds())
                    await work.collect_all(caller)
                    await gather(work.evidence, caller, s3, url)
        finally:
            registry.stop()
        faults = {fault.value: count for fault, count in proxy.seen.items()}
    collected = sum(state == State.STATE_DELETED for state in work.evidence.listed.values())
    return KilledRegistry(seed, work.evidence, work.kills, faults, collected)
