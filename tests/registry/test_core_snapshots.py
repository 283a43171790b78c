from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.common.etags import EtagMismatch
from services.common.resources import ConcurrentChange
from services.registry.core.errors import (
    DatasetExists,
    DatasetNotEmpty,
    FileExists,
    SnapshotEmpty,
    SnapshotNotSealed,
    SnapshotReferenced,
    SnapshotSealed,
)
from services.registry.core.lineage import Direction
from services.registry.core.snapshots import Origin
from services.registry.core.use_cases import datasets
from services.registry.core.versions import Ancestry
from tests.support.registry_memory import MemoryRegistryTx
from tests.support.registry_values import (
    DATASET,
    NO_RULES,
    SNAPSHOT,
    ready_version,
    sealed_snapshot,
    snapshot_file,
)

CONTENTS = st.lists(st.binary(min_size=1, max_size=4), min_size=1, max_size=5, unique=True)


def open_snapshot(
    tx: MemoryRegistryTx, name: str = SNAPSHOT, parents: tuple[str, ...] = ()
) -> None:
    if tx.datasets.get(DATASET) is None:
        datasets.create_dataset(tx, DATASET, description="", labels={})
    datasets.create_snapshot(
        tx, name, rules=NO_RULES, origin=Origin(source="", parents=parents), labels={}
    )


@given(CONTENTS, st.randoms())
def test_identity_is_made_of_the_content_and_not_of_the_order_of_uploads(
    contents: list[bytes], random: object
) -> None:
    digests = set()
    for reverse in (False, True):
        tx = MemoryRegistryTx()
        open_snapshot(tx)
        files = [snapshot_file(f"{index}.parquet", c) for index, c in enumerate(contents)]
        for revision, file in enumerate(sorted(files, key=lambda f: f.path, reverse=reverse), 1):
            datasets.add_file(tx, SNAPSHOT, file, cleaned_at_revision=revision)
        sealed = datasets.seal_snapshot(
            tx, SNAPSHOT, (), etag="", reported_at_revision=len(files) + 1
        )
        digests.add(sealed.digest)
    assert len(digests) == 1


def test_identity_changes_with_a_files_content() -> None:
    digests = set()
    for content in (b"a", b"b"):
        tx = MemoryRegistryTx()
        open_snapshot(tx)
        datasets.add_file(tx, SNAPSHOT, snapshot_file(content=content), cleaned_at_revision=1)
        digests.add(
            datasets.seal_snapshot(tx, SNAPSHOT, (), etag="", reported_at_revision=2).digest
        )
    assert len(digests) == 2


def test_a_sealed_snapshot_takes_no_file_and_is_not_sealed_again() -> None:
    tx = MemoryRegistryTx()
    sealed_snapshot(tx)
    with pytest.raises(SnapshotSealed):
        datasets.add_file(tx, SNAPSHOT, snapshot_file("b", b"b"), cleaned_at_revision=3)
    with pytest.raises(SnapshotSealed):
        datasets.seal_snapshot(tx, SNAPSHOT, (), etag="", reported_at_revision=3)


def test_the_same_bytes_under_the_same_path_change_nothing_even_when_sealed() -> None:
    tx = MemoryRegistryTx()
    sealed = sealed_snapshot(tx)
    again = datasets.add_file(tx, SNAPSHOT, snapshot_file(), cleaned_at_revision=99)
    assert again == sealed.files[0]
    assert tx.snapshots.get(SNAPSHOT) == sealed


def test_other_bytes_under_the_same_path_are_refused() -> None:
    tx = MemoryRegistryTx()
    open_snapshot(tx)
    datasets.add_file(tx, SNAPSHOT, snapshot_file(), cleaned_at_revision=1)
    with pytest.raises(FileExists):
        datasets.add_file(tx, SNAPSHOT, snapshot_file(content=b"b"), cleaned_at_revision=2)


def test_a_file_cleaned_against_fewer_files_must_be_cleaned_again() -> None:
    tx = MemoryRegistryTx()
    open_snapshot(tx)
    datasets.add_file(tx, SNAPSHOT, snapshot_file(), cleaned_at_revision=1)
    with pytest.raises(ConcurrentChange):
        datasets.add_file(tx, SNAPSHOT, snapshot_file("b", b"b"), cleaned_at_revision=1)
    with pytest.raises(ConcurrentChange):
        datasets.seal_snapshot(tx, SNAPSHOT, (), etag="", reported_at_revision=1)


def test_a_snapshot_without_a_usable_row_is_not_sealed() -> None:
    tx = MemoryRegistryTx()
    open_snapshot(tx)
    datasets.add_file(tx, SNAPSHOT, snapshot_file(rows=0), cleaned_at_revision=1)
    with pytest.raises(SnapshotEmpty):
        datasets.seal_snapshot(tx, SNAPSHOT, (), etag="", reported_at_revision=2)


def test_a_parent_must_be_sealed_and_becomes_lineage() -> None:
    tx = MemoryRegistryTx()
    open_snapshot(tx)
    child = f"{DATASET}/snapshots/child"
    with pytest.raises(SnapshotNotSealed):
        open_snapshot(tx, child, parents=(SNAPSHOT,))
    datasets.add_file(tx, SNAPSHOT, snapshot_file(), cleaned_at_revision=1)
    datasets.seal_snapshot(tx, SNAPSHOT, (), etag="", reported_at_revision=2)
    open_snapshot(tx, child, parents=(SNAPSHOT,))
    (edge,) = tx.edges_at([child], Direction.UPSTREAM)
    assert (edge.source, edge.relation) == (SNAPSHOT, "derived")
    with pytest.raises(SnapshotReferenced):
        datasets.delete_snapshot(tx, SNAPSHOT, etag="")
    datasets.delete_snapshot(tx, child, etag="")
    datasets.delete_snapshot(tx, SNAPSHOT, etag="")


def test_a_snapshot_that_a_version_was_trained_on_is_not_deleted() -> None:
    tx = MemoryRegistryTx()
    sealed_snapshot(tx)
    version = ready_version(
        tx, ancestry=Ancestry(snapshots=(SNAPSHOT,), training_job="", parent_version="")
    )
    with pytest.raises(SnapshotReferenced) as refused:
        datasets.delete_snapshot(tx, SNAPSHOT, etag="")
    assert refused.value.metadata["referrer"] == version.meta.name


def test_datasets_are_changed_by_etag_and_deleted_when_empty() -> None:
    tx = MemoryRegistryTx()
    dataset = datasets.create_dataset(tx, DATASET, description="old", labels={"a": "1"})
    with pytest.raises(DatasetExists):
        datasets.create_dataset(tx, DATASET, description="", labels={})
    changed = datasets.update_dataset(
        tx, DATASET, etag=dataset.meta.etag, description="new", labels=None
    )
    assert (changed.description, changed.meta.labels) == ("new", {"a": "1"})
    with pytest.raises(EtagMismatch):
        datasets.update_dataset(tx, DATASET, etag=dataset.meta.etag, description="x", labels=None)
    open_snapshot(tx)
    with pytest.raises(DatasetNotEmpty):
        datasets.delete_dataset(tx, DATASET, etag="")
    datasets.delete_snapshot(tx, SNAPSHOT, etag="")
    datasets.delete_dataset(tx, DATASET, etag=changed.meta.etag)
    assert tx.datasets.get(DATASET) is None
    assert tx.kinds()[-2:] == ["snapshot.deleted", "dataset.deleted"]


def test_column_reports_and_labels_are_no_part_of_the_identity() -> None:
    sealed = sealed_snapshot(MemoryRegistryTx())
    relabelled = replace(sealed, meta=replace(sealed.meta, labels={"a": "1"}), columns=())
    assert relabelled.manifest() == sealed.manifest()
