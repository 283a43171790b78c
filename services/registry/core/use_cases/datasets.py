"""Datasets and snapshots: from an empty series to sealed rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from services.common.resources import ConcurrentChange
from services.registry.core.columns import ColumnReport
from services.registry.core.errors import (
    DatasetExists,
    DatasetNotEmpty,
    SnapshotExists,
    SnapshotReferenced,
)
from services.registry.core.lineage import Direction, Edge, Relation
from services.registry.core.names import DATASET, SNAPSHOT, checked, parent_of
from services.registry.core.ports import RegistryTx
from services.registry.core.retention.policy import RetentionChange, RetentionPolicy
from services.registry.core.snapshots import (
    CleaningRules,
    Dataset,
    DatasetSnapshot,
    Origin,
    SnapshotFile,
    SnapshotState,
)
from services.registry.core.use_cases.identities import new_meta
from services.registry.core.use_cases.lookup import the_dataset, the_snapshot
from services.registry.core.use_cases.retention import need_no_privacy_hold, need_unretained


def create_dataset(
    tx: RegistryTx,
    name: str,
    *,
    description: str,
    labels: Mapping[str, str],
    retention: RetentionPolicy | None = None,
) -> Dataset:
    """A new, empty dataset.

    Raises:
        DatasetExists: The name is taken.
    """
    if tx.datasets.get(checked(DATASET, name, "dataset_id")) is not None:
        raise DatasetExists(name)
    dataset = Dataset(new_meta(tx, name, labels), description, retention)
    tx.datasets.add(dataset)
    tx.tell("dataset.created", name, {})
    return dataset


def update_dataset(
    tx: RegistryTx,
    name: str,
    *,
    etag: str,
    description: str | None,
    labels: Mapping[str, str] | None,
    retention: RetentionChange | None = None,
) -> Dataset:
    """The dataset with a new description, labels or retention; None leaves one as it is.

    Raises:
        DatasetNotFound: There is none.
        EtagMismatch: It has changed since the caller read it.
    """
    dataset = the_dataset(tx, name, "dataset.name")
    dataset.meta.check_etag(etag)
    meta = dataset.meta.touched(tx.now)
    changed = Dataset(
        meta=meta if labels is None else replace(meta, labels=labels),
        description=dataset.description if description is None else description,
        retention=dataset.retention if retention is None else retention.policy,
    )
    tx.datasets.replace(changed)
    tx.tell("dataset.updated", name, {})
    return changed


def delete_dataset(tx: RegistryTx, name: str, *, etag: str) -> None:
    """Forget an empty dataset.

    Raises:
        DatasetNotFound: There is none.
        EtagMismatch: It has changed since the caller read it.
        DatasetNotEmpty: It still has snapshots.
    """
    dataset = the_dataset(tx, name)
    dataset.meta.check_etag(etag)
    snapshots = tx.snapshots.count(name)
    if snapshots:
        raise DatasetNotEmpty(name, snapshots)
    tx.datasets.remove(name)
    tx.tell("dataset.deleted", name, {})


def create_snapshot(
    tx: RegistryTx,
    name: str,
    *,
    rules: CleaningRules,
    origin: Origin,
    labels: Mapping[str, str],
) -> DatasetSnapshot:
    """A snapshot that is open for files.

    Raises:
        DatasetNotFound, SnapshotNotFound: The dataset or a parent doesn't exist.
        SnapshotExists: The name is taken.
        SnapshotNotSealed, BytesCollected, PrivacyHeld: A parent may still change, is gone,
            or nothing may be made from it.
    """
    the_dataset(tx, parent_of(name), "parent")
    if tx.snapshots.get(checked(SNAPSHOT, name, "snapshot_id")) is not None:
        raise SnapshotExists(name)
    for index, parent in enumerate(origin.parents):
        the_snapshot(tx, parent, f"snapshot.parents[{index}]").need_sealed()
        need_no_privacy_hold(tx, parent)
    snapshot = DatasetSnapshot(
        meta=new_meta(tx, name, labels), state=SnapshotState.OPEN, rules=rules, origin=origin
    )
    tx.snapshots.add(snapshot)
    for parent in origin.parents:
        tx.link(Edge(parent, name, Relation.DERIVED, tx.now))
    tx.tell("snapshot.created", name, {"parents": list(origin.parents)})
    return snapshot


def add_file(
    tx: RegistryTx, name: str, file: SnapshotFile, *, cleaned_at_revision: int
) -> SnapshotFile:
    """The file as the snapshot holds it, added unless the same bytes are there.

    Args:
        tx: The transaction.
        name: Of the snapshot.
        file: Cleaned against the snapshot's files at one revision.
        cleaned_at_revision: That revision.

    Raises:
        SnapshotNotFound: There is none.
        SnapshotSealed: It is final.
        FileExists: Other bytes are under the path.
        ConcurrentChange: It has other files by now: clean again.
    """
    snapshot = the_snapshot(tx, name, "header.snapshot")
    if snapshot.holds(file.path, file.source_digest):
        return snapshot.file(file.path)
    snapshot.need_open()
    if snapshot.meta.revision != cleaned_at_revision:
        raise ConcurrentChange(name)
    tx.snapshots.replace(snapshot.with_file(file, tx.now))
    tx.tell(
        "snapshot.file_added",
        name,
        {"path": file.path, "digest": file.digest, "rows_kept": file.table.counts.rows_kept},
    )
    return file


def seal_snapshot(
    tx: RegistryTx,
    name: str,
    columns: Sequence[ColumnReport],
    *,
    etag: str,
    reported_at_revision: int,
) -> DatasetSnapshot:
    """The snapshot, final, with its digest.

    Args:
        tx: The transaction.
        name: Of the snapshot.
        columns: The report on the snapshot's files at one revision.
        etag: Last read by the caller; empty means any.
        reported_at_revision: That revision.

    Raises:
        SnapshotNotFound: There is none.
        EtagMismatch: It has changed since the caller read it.
        SnapshotSealed, SnapshotEmpty: It can't be sealed.
        ConcurrentChange: It has other files than the report is on.
    """
    snapshot = the_snapshot(tx, name)
    snapshot.meta.check_etag(etag)
    snapshot.need_open()
    if snapshot.meta.revision != reported_at_revision:
        raise ConcurrentChange(name)
    sealed = snapshot.sealed(columns, tx.now)
    tx.snapshots.replace(sealed)
    tx.tell("snapshot.sealed", name, {"digest": sealed.digest, "rows": sealed.counts.rows_kept})
    return sealed


def delete_snapshot(tx: RegistryTx, name: str, *, etag: str) -> None:
    """Forget a snapshot that nothing was made from.

    Raises:
        SnapshotNotFound: There is none.
        EtagMismatch: It has changed since the caller read it.
        SnapshotReferenced: A version, job, evaluation or snapshot was made from it.
        Retained: A pin or hold keeps it.
    """
    snapshot = the_snapshot(tx, name)
    snapshot.meta.check_etag(etag)
    need_unretained(tx, name)
    referrers = tx.edges_at([name], Direction.DOWNSTREAM)
    if referrers:
        raise SnapshotReferenced(name, referrers[0].target)
    tx.snapshots.remove(name)
    tx.unlink(name)
    tx.tell("snapshot.deleted", name, {})
