"""Snapshots in the registry: read whole, and made in three repeatable steps."""

from __future__ import annotations

import asyncio
import io
import uuid
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import grpc
import pyarrow as pa
import pyarrow.parquet as pq
from roundhouse.registry.v1 import dataset_pb2 as dataset_pb
from roundhouse.registry.v1 import dataset_service_pb2 as service_pb
from roundhouse.registry.v1 import dataset_service_pb2_grpc as service_grpc
from roundhouse.registry.v1 import retention_pb2 as retention_pb
from roundhouse.registry.v1 import retention_service_pb2 as retention_service_pb
from roundhouse.registry.v1 import retention_service_pb2_grpc as retention_grpc

from services.common.names import parent_of
from services.common.rpc.convert import from_timestamp
from services.common.rpc.remote import remote_errors
from services.monitor.core.errors import PrivacyHeld
from services.monitor.core.names import SNAPSHOT
from services.monitor.core.ports import BuiltSnapshot

_PEER: Final = "registry"
_CHUNK_BYTES: Final = 1 << 20
_TRANSFER_TIMEOUT_S: Final = 300.0
_HOLDS: Final = 'kind = "PRIVACY" AND state = "ACTIVE"'


@dataclass(frozen=True, slots=True)
class NewSnapshot:
    """A snapshot to be made, of one Parquet file.

    Attributes:
        dataset: That gets it, by resource name.
        snapshot_id: Last part of its name.
        time_column: With the rows' event time.
        required_columns: That must have a value.
        source: Where the rows come from, for people.
        parents: Snapshots that rows were taken from, by resource name.
        path: Of the file.
        content: Of the file.
        digest: Of the content.
    """

    dataset: str
    snapshot_id: str
    time_column: str
    required_columns: tuple[str, ...]
    source: str
    parents: tuple[str, ...]
    path: str
    content: bytes
    digest: str


class RegistrySnapshots:
    """Snapshots over gRPC. Every method raises `RemoteError` when the registry refuses.

    Args:
        channel: To the registry.
    """

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._datasets = service_grpc.DatasetServiceStub(channel)
        self._retention = retention_grpc.RetentionServiceStub(channel)

    async def read(self, name: str) -> pa.Table:
        """All rows of a snapshot, in its order.

        Raises:
            PrivacyHeld: It is under a privacy hold.
        """
        with remote_errors(_PEER):
            snapshot = await self._datasets.GetSnapshot(service_pb.GetSnapshotRequest(name=name))
            if snapshot.privacy_hold:
                raise PrivacyHeld(name, snapshot.privacy_hold)
            contents = [await self._download(name, file.path) for file in snapshot.files]
        tables = [
            await asyncio.to_thread(pq.read_table, io.BytesIO(content)) for content in contents
        ]
        return pa.concat_tables(tables, promote_options="default")

    async def check_unheld(
        self, dataset: str, source: str, start: datetime | None, end: datetime
    ) -> None:
        """Pass if no privacy hold is on rows of the same source and time.

        A hold is on a snapshot; the rows it was made of could be written anew as another one.

        Args:
            dataset: Of the project whose holds count.
            source: As snapshots name it.
            start: Earliest event time, inclusive; None: from the first row on.
            end: Latest event time, exclusive.

        Raises:
            PrivacyHeld: One is.
        """
        with remote_errors(_PEER):
            async for hold in self._holds(parent_of(dataset)):
                if not SNAPSHOT.matches(hold.target):
                    continue
                held = await self._datasets.GetSnapshot(
                    service_pb.GetSnapshotRequest(name=hold.target)
                )
                if held.source == source and _overlaps(held, start, end):
                    raise PrivacyHeld(hold.target, hold.name)

    async def _holds(self, project: str) -> AsyncIterator[retention_pb.Hold]:
        request = retention_service_pb.ListHoldsRequest(
            parent=project, page_size=1000, filter=_HOLDS
        )
        while True:
            page = await self._retention.ListHolds(request)
            for hold in page.holds:
                yield hold
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    async def create(self, new: NewSnapshot, request_id: uuid.UUID) -> BuiltSnapshot:
        """The snapshot, sealed; the same request id again gives the same one."""
        with remote_errors(_PEER):
            snapshot = await self._datasets.CreateSnapshot(
                service_pb.CreateSnapshotRequest(
                    parent=new.dataset,
                    snapshot_id=new.snapshot_id,
                    snapshot=dataset_pb.DatasetSnapshot(
                        time_column=new.time_column,
                        required_columns=new.required_columns,
                        source=new.source,
                        parents=new.parents,
                    ),
                    request_id=_step(request_id, "create"),
                )
            )
            file = await self._datasets.UploadSnapshotFile(
                _parts(snapshot.name, new, _step(request_id, "upload")),
                timeout=_TRANSFER_TIMEOUT_S,
            )
            sealed = await self._datasets.SealSnapshot(
                service_pb.SealSnapshotRequest(
                    name=snapshot.name, request_id=_step(request_id, "seal")
                )
            )
        return BuiltSnapshot(sealed.name, file.rows)

    async def _download(self, snapshot: str, path: str) -> bytes:
        request = service_pb.DownloadSnapshotFileRequest(snapshot=snapshot, path=path)
        parts = self._datasets.DownloadSnapshotFile(request, timeout=_TRANSFER_TIMEOUT_S)
        return b"".join([part.chunk async for part in parts])


def _overlaps(held: dataset_pb.DatasetSnapshot, start: datetime | None, end: datetime) -> bool:
    if not held.HasField("start_time"):
        return True
    begins_before = from_timestamp(held.start_time) < end
    return begins_before and (start is None or from_timestamp(held.end_time) >= start)


def _step(request_id: uuid.UUID, step: str) -> str:
    return str(uuid.uuid5(request_id, step))


def _parts(
    snapshot: str, new: NewSnapshot, request_id: str
) -> Iterator[service_pb.UploadSnapshotFileRequest]:
    header = service_pb.UploadSnapshotFileRequest.Header(
        snapshot=snapshot,
        path=new.path,
        format=service_pb.UploadSnapshotFileRequest.Header.FORMAT_PARQUET,
        digest=new.digest,
        request_id=request_id,
    )
    yield service_pb.UploadSnapshotFileRequest(header=header)
    for start in range(0, len(new.content), _CHUNK_BYTES):
        yield service_pb.UploadSnapshotFileRequest(chunk=new.content[start : start + _CHUNK_BYTES])
