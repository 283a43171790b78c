"""Datasets and snapshots to and from proto messages."""

from __future__ import annotations

from typing import Final

from roundhouse.registry.v1 import dataset_pb2 as pb
from roundhouse.registry.v1 import dataset_service_pb2 as service_pb

from services.common.rpc.convert import to_timestamp
from services.registry.api.convert.retention import retention_to_proto
from services.registry.core.columns import CleaningCounts, ColumnReport
from services.registry.core.snapshots import (
    CleaningRules,
    Dataset,
    DatasetSnapshot,
    Origin,
    SnapshotFile,
    SnapshotState,
    TableFormat,
)

_STATES: Final = {
    SnapshotState.OPEN: pb.DatasetSnapshot.STATE_OPEN,
    SnapshotState.SEALED: pb.DatasetSnapshot.STATE_SEALED,
    SnapshotState.DELETED: pb.DatasetSnapshot.STATE_DELETED,
}
_FORMATS: Final = {
    service_pb.UploadSnapshotFileRequest.Header.FORMAT_CSV: TableFormat.CSV,
    service_pb.UploadSnapshotFileRequest.Header.FORMAT_PARQUET: TableFormat.PARQUET,
}


def dataset_to_proto(dataset: Dataset) -> pb.Dataset:
    """`dataset` as it goes over the wire."""
    meta = dataset.meta
    return pb.Dataset(
        name=meta.name,
        uid=meta.uid,
        etag=meta.etag,
        create_time=to_timestamp(meta.create_time),
        update_time=to_timestamp(meta.update_time),
        labels=meta.labels,
        description=dataset.description,
        retention_policy=retention_to_proto(dataset.retention),
    )


def snapshot_to_proto(snapshot: DatasetSnapshot) -> pb.DatasetSnapshot:
    """`snapshot` with its column reports."""
    message = snapshot_to_listed_proto(snapshot)
    message.columns.extend(_report_to_proto(report) for report in snapshot.columns)
    for file, listed in zip(snapshot.files, message.files, strict=True):
        listed.CopyFrom(file_to_proto(file))
    return message


def snapshot_to_listed_proto(snapshot: DatasetSnapshot) -> pb.DatasetSnapshot:
    """`snapshot` without column reports."""
    meta = snapshot.meta
    window = snapshot.window
    return pb.DatasetSnapshot(
        name=meta.name,
        uid=meta.uid,
        etag=meta.etag,
        create_time=to_timestamp(meta.create_time),
        update_time=to_timestamp(meta.update_time),
        labels=meta.labels,
        state=_STATES[snapshot.state],
        digest=snapshot.digest or "",
        key_columns=snapshot.rules.key_columns,
        required_columns=snapshot.rules.required_columns,
        time_column=snapshot.rules.time_column,
        source=snapshot.origin.source,
        parents=snapshot.origin.parents,
        files=[_listed_file_to_proto(file) for file in snapshot.files],
        cleaning=_counts_to_proto(snapshot.counts),
        start_time=None if window is None else to_timestamp(window.start),
        end_time=None if window is None else to_timestamp(window.end),
        collected_by=snapshot.collected_by,
        collect_time=(
            None if snapshot.collect_time is None else to_timestamp(snapshot.collect_time)
        ),
    )


def file_to_proto(file: SnapshotFile) -> pb.SnapshotFile:
    """`file` with its column reports."""
    message = _listed_file_to_proto(file)
    message.columns.extend(_report_to_proto(report) for report in file.table.columns)
    return message


def rules_from_proto(snapshot: pb.DatasetSnapshot) -> CleaningRules:
    """Which rows the new snapshot keeps."""
    return CleaningRules(
        key_columns=tuple(snapshot.key_columns),
        required_columns=tuple(snapshot.required_columns),
        time_column=snapshot.time_column,
    )


def origin_from_proto(snapshot: pb.DatasetSnapshot) -> Origin:
    """Where the new snapshot's rows come from."""
    return Origin(source=snapshot.source, parents=tuple(snapshot.parents))


def format_from_proto(
    file_format: service_pb.UploadSnapshotFileRequest.Header.Format.ValueType,
) -> TableFormat:
    """The format that the header names."""
    return _FORMATS[file_format]


def _listed_file_to_proto(file: SnapshotFile) -> pb.SnapshotFile:
    return pb.SnapshotFile(
        path=file.path,
        digest=file.digest,
        size_bytes=file.size_bytes,
        rows=file.table.counts.rows_kept,
        source_digest=file.source_digest,
        cleaning=_counts_to_proto(file.table.counts),
    )


def _counts_to_proto(counts: CleaningCounts) -> pb.CleaningCounts:
    return pb.CleaningCounts(
        rows_read=counts.rows_read,
        rows_kept=counts.rows_kept,
        duplicates=counts.duplicates,
        unusable=counts.unusable,
    )


def _report_to_proto(report: ColumnReport) -> pb.ColumnReport:
    return pb.ColumnReport(
        name=report.column.name,
        data_type=report.column.type.value,
        null_count=report.null_count,
        distinct_count=report.distinct_count,
        minimum=report.minimum,
        maximum=report.maximum,
        mean=report.mean,
        top_values=[
            pb.ColumnReport.ValueCount(value=entry.value, count=entry.count)
            for entry in report.top_values
        ],
    )
