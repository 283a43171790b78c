"""What callers were told of a registry that was killed, and what must hold after it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import grpc
from roundhouse.registry.v1 import model_pb2
from roundhouse.registry.v1 import model_service_pb2 as models_pb

from services.common.blobs.content import ContentStore
from services.common.blobs.opening import open_blob_store
from services.common.blobs.staging import Staging
from services.common.clock import utc_now
from tests.support.calls import PROJECT
from tests.support.registry_api import MANIFEST, RegistryCaller, digest_of
from tests.support.seaweedfs import S3Server

State = model_pb2.ModelVersion.State
MODEL = f"{PROJECT}/models/delays"
CALL_S = 20.0
"""Deadline of a call."""


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
        return [*self._losses(), *self._duplicates(), *self.leaks()]

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

    def leaks(self) -> Iterator[str]:
        """What is stored and serves nothing."""
        for digest in sorted(self.stored - self.needed):
            yield f"{digest} is stored and nothing needs it"
        for key in self.leftovers:
            yield f"{key} was left behind"


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
        page = await caller.models.ListVersions(request, timeout=CALL_S)
        found += page.versions
        token = page.next_page_token
        if not token:
            return found


async def _moves(caller: RegistryCaller) -> list[str]:
    found: list[str] = []
    token = ""
    while True:
        request = models_pb.ListAliasMovesRequest(parent=MODEL, page_size=1000, page_token=token)
        page = await caller.models.ListAliasMoves(request, timeout=CALL_S)
        found += [move.reason for move in page.moves]
        token = page.next_page_token
        if not token:
            return found


async def _is_whole(caller: RegistryCaller, version: str, path: str, digest: str) -> bool:
    request = models_pb.DownloadArtifactRequest(version=version, path=path)
    try:
        parts = caller.models.DownloadArtifact(request, timeout=CALL_S)
        data = b"".join([part.chunk async for part in parts])
    except grpc.aio.AioRpcError:
        return False
    return digest_of(data) == digest
