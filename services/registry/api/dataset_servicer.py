"""`roundhouse.registry.v1.DatasetService`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any, TypeAlias

import grpc
from google.protobuf.empty_pb2 import Empty
from roundhouse.registry.v1 import dataset_pb2 as pb
from roundhouse.registry.v1 import dataset_service_pb2 as service_pb
from roundhouse.registry.v1 import dataset_service_pb2_grpc as pb_grpc

from services.common.resources import Page
from services.common.rpc.inputs import check_settable, masked, page_query
from services.registry.api.convert.datasets import (
    dataset_to_proto,
    origin_from_proto,
    rules_from_proto,
    snapshot_to_listed_proto,
    snapshot_to_proto,
)
from services.registry.api.convert.retention import retention_from_proto
from services.registry.api.inputs import child_name
from services.registry.api.snapshot_files import SnapshotFiles
from services.registry.api.transactions import Transactions
from services.registry.core.names import PROJECT
from services.registry.core.ports import RegistryLists, RegistryTx
from services.registry.core.retention.policy import RetentionChange
from services.registry.core.snapshots import DatasetSnapshot
from services.registry.core.use_cases import datasets
from services.registry.core.use_cases.lookup import the_dataset, the_snapshot
from services.registry.core.use_cases.retention import privacy_hold_on

_Context: TypeAlias = grpc.aio.ServicerContext[Any, Any]  # generic over every method's messages

_SETTABLE_OF_SNAPSHOT = (
    "labels",
    "key_columns",
    "required_columns",
    "time_column",
    "source",
    "parents",
)


class DatasetServicer(pb_grpc.DatasetServiceServicer):
    """Datasets and snapshots over gRPC.

    Args:
        transactions: The registry's.
        files: Moves bytes in and out of snapshots.
    """

    def __init__(self, transactions: Transactions, files: SnapshotFiles) -> None:
        self._transactions = transactions
        self._files = files

    async def CreateDataset(
        self, request: service_pb.CreateDatasetRequest, _: _Context
    ) -> pb.Dataset:
        """A new, empty dataset."""
        check_settable(request.dataset, "dataset", ("labels", "description", "retention_policy"))
        name = child_name(request.parent, "datasets", request.dataset_id)
        return await self._transactions.mutate(
            request,
            pb.Dataset,
            lambda tx: dataset_to_proto(
                datasets.create_dataset(
                    tx,
                    name,
                    description=request.dataset.description,
                    labels=dict(request.dataset.labels),
                    retention=retention_from_proto(request.dataset.retention_policy),
                )
            ),
        )

    async def GetDataset(self, request: service_pb.GetDatasetRequest, _: _Context) -> pb.Dataset:
        """One dataset."""
        return await self._transactions.read(
            lambda tx: dataset_to_proto(the_dataset(tx, request.name))
        )

    async def ListDatasets(
        self, request: service_pb.ListDatasetsRequest, _: _Context
    ) -> service_pb.ListDatasetsResponse:
        """A page of a project's datasets."""
        query = page_query(request, PROJECT)
        page = await self._transactions.read_lists(lambda _, lists: lists.datasets(query))
        return service_pb.ListDatasetsResponse(
            datasets=[dataset_to_proto(dataset) for dataset in page.items],
            next_page_token=page.next_page_token,
        )

    async def UpdateDataset(
        self, request: service_pb.UpdateDatasetRequest, _: _Context
    ) -> pb.Dataset:
        """The dataset, changed."""
        picked = masked(request.update_mask.paths, ("description", "labels", "retention_policy"))
        wanted = request.dataset
        return await self._transactions.mutate(
            request,
            pb.Dataset,
            lambda tx: dataset_to_proto(
                datasets.update_dataset(
                    tx,
                    wanted.name,
                    etag=wanted.etag,
                    description=wanted.description if "description" in picked else None,
                    labels=dict(wanted.labels) if "labels" in picked else None,
                    retention=(
                        RetentionChange(retention_from_proto(wanted.retention_policy))
                        if "retention_policy" in picked
                        else None
                    ),
                )
            ),
        )

    async def DeleteDataset(self, request: service_pb.DeleteDatasetRequest, _: _Context) -> Empty:
        """Nothing, once the dataset is forgotten."""

        def delete(tx: RegistryTx) -> Empty:
            datasets.delete_dataset(tx, request.name, etag=request.etag)
            return Empty()

        return await self._transactions.mutate(request, Empty, delete)

    async def CreateSnapshot(
        self, request: service_pb.CreateSnapshotRequest, _: _Context
    ) -> pb.DatasetSnapshot:
        """A snapshot that is open for files."""
        check_settable(request.snapshot, "snapshot", _SETTABLE_OF_SNAPSHOT)
        name = child_name(request.parent, "snapshots", request.snapshot_id)
        return await self._transactions.mutate(
            request,
            pb.DatasetSnapshot,
            lambda tx: snapshot_to_proto(
                datasets.create_snapshot(
                    tx,
                    name,
                    rules=rules_from_proto(request.snapshot),
                    origin=origin_from_proto(request.snapshot),
                    labels=dict(request.snapshot.labels),
                )
            ),
        )

    async def UploadSnapshotFile(
        self, parts: AsyncIterator[service_pb.UploadSnapshotFileRequest], _: _Context
    ) -> pb.SnapshotFile:
        """The file as the snapshot holds it."""
        return await self._files.upload(parts)

    async def SealSnapshot(
        self, request: service_pb.SealSnapshotRequest, _: _Context
    ) -> pb.DatasetSnapshot:
        """The snapshot, final."""
        return await self._files.seal(request)

    async def GetSnapshot(
        self, request: service_pb.GetSnapshotRequest, _: _Context
    ) -> pb.DatasetSnapshot:
        """One snapshot with its column reports."""

        def shown(tx: RegistryTx) -> pb.DatasetSnapshot:
            message = snapshot_to_proto(the_snapshot(tx, request.name))
            message.privacy_hold = privacy_hold_on(tx, request.name)
            return message

        return await self._transactions.read(shown)

    async def ListSnapshots(
        self, request: service_pb.ListSnapshotsRequest, _: _Context
    ) -> service_pb.ListSnapshotsResponse:
        """A page of a dataset's snapshots, without column reports."""
        query = page_query(request)

        def listed(tx: RegistryTx, lists: RegistryLists) -> Page[DatasetSnapshot]:
            the_dataset(tx, request.parent, "parent")
            return lists.snapshots(query)

        page = await self._transactions.read_lists(listed)
        return service_pb.ListSnapshotsResponse(
            snapshots=[snapshot_to_listed_proto(snapshot) for snapshot in page.items],
            next_page_token=page.next_page_token,
        )

    async def DeleteSnapshot(self, request: service_pb.DeleteSnapshotRequest, _: _Context) -> Empty:
        """Nothing, once the snapshot is forgotten."""

        def delete(tx: RegistryTx) -> Empty:
            datasets.delete_snapshot(tx, request.name, etag=request.etag)
            return Empty()

        return await self._transactions.mutate(request, Empty, delete)

    async def DownloadSnapshotFile(
        self, request: service_pb.DownloadSnapshotFileRequest, _: _Context
    ) -> AsyncIterator[service_pb.DownloadSnapshotFileResponse]:
        """One file's Parquet bytes."""
        async with aclosing(self._files.download(request)) as chunks:
            async for chunk in chunks:
                yield service_pb.DownloadSnapshotFileResponse(chunk=chunk)
