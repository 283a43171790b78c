"""Values of the registry's domain, with defaults for what a test doesn't care about."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

from services.registry.core.bundles import MANIFEST, BundleFile, manifest_of
from services.registry.core.canonical import digest_of_bytes
from services.registry.core.columns import CleanedTable, CleaningCounts, Column, ColumnType
from services.registry.core.evaluations import (
    Evaluation,
    Purpose,
    Scores,
    SliceScores,
)
from services.registry.core.policies import PromotionPolicy
from services.registry.core.ports import RegistryTx
from services.registry.core.snapshots import (
    CleaningRules,
    DatasetSnapshot,
    Origin,
    SnapshotFile,
    TableFormat,
)
from services.registry.core.use_cases import datasets, evaluations, models, versions
from services.registry.core.versions import Ancestry, ModelVersion

DATASET = "projects/default/datasets/flights"
SNAPSHOT = f"{DATASET}/snapshots/january"
MODEL = "projects/default/models/delays"
CHAMPION = f"{MODEL}/aliases/champion"
JOB = "projects/default/trainingJobs/first"
NO_ANCESTRY = Ancestry(snapshots=(), training_job="", parent_version="")
NO_RULES = CleaningRules(key_columns=(), required_columns=(), time_column="")
SPLIT_DIGEST = digest_of_bytes(b"rows 0 to 99")

Commit: TypeAlias = Callable[[Callable[[RegistryTx], None]], None]
"""Runs a function in a transaction and commits it."""


def snapshot_file(path: str = "a.parquet", content: bytes = b"a", rows: int = 10) -> SnapshotFile:
    """A cleaned file."""
    digest = digest_of_bytes(content)
    return SnapshotFile(
        path=path,
        digest=digest,
        size_bytes=len(content),
        source_digest=digest,
        source_format=TableFormat.CSV,
        table=CleanedTable(
            schema=(Column("x", ColumnType.INT64),),
            counts=CleaningCounts(rows_read=rows, duplicates=0, unusable=0, rows_kept=rows),
            columns=(),
            window=None,
        ),
    )


def sealed_snapshot(tx: RegistryTx, name: str = SNAPSHOT, content: bytes = b"a") -> DatasetSnapshot:
    """A sealed snapshot of one file, its dataset made where absent."""
    if tx.datasets.get(DATASET) is None:
        datasets.create_dataset(tx, DATASET, description="", labels={})
    datasets.create_snapshot(
        tx, name, rules=NO_RULES, origin=Origin(source="test", parents=()), labels={}
    )
    datasets.add_file(tx, name, snapshot_file(content=content), cleaned_at_revision=1)
    return datasets.seal_snapshot(tx, name, (), etag="", reported_at_revision=2)


def ready_version(
    tx: RegistryTx,
    content: bytes = b"onnx",
    ancestry: Ancestry | None = None,
    *,
    card: bytes | None = None,
) -> ModelVersion:
    """A committed version of two files, or three with a card; its model made where absent."""
    if tx.models.get(MODEL) is None:
        create_model(tx)
    version = versions.begin_upload(
        tx,
        MODEL,
        ancestry or Ancestry(snapshots=(), training_job="", parent_version=""),
        labels={},
    )
    cards = [] if card is None else [BundleFile("card.md", len(card), digest_of_bytes(card))]
    files = (
        *cards,
        BundleFile("model.onnx", len(content), digest_of_bytes(content)),
        BundleFile("signature.json", 2, digest_of_bytes(b"{}")),
    )
    manifest = manifest_of(files)
    uploaded = (*files, BundleFile(MANIFEST, len(manifest), digest_of_bytes(manifest)))
    for file in uploaded:
        versions.record_artifact(tx, version.meta.name, file)
    return versions.commit_version(tx, version.meta.name, files, digest=digest_of_bytes(manifest))


def create_model(tx: RegistryTx, policy: PromotionPolicy | None = None) -> None:
    """The model, with `champion` protected unless the policy says otherwise."""
    models.create_model(
        tx,
        MODEL,
        description="",
        labels={},
        policy=policy or PromotionPolicy(protected_aliases=("champion",)),
    )


def evaluated(
    tx: RegistryTx,
    version: ModelVersion,
    metrics: Mapping[str, float] | None = None,
    *,
    snapshot: str = SNAPSHOT,
    split_digest: str = SPLIT_DIGEST,
    purpose: Purpose = Purpose.TEST,
    standard_errors: Mapping[str, float] | None = None,
    slices: tuple[SliceScores, ...] = (),
) -> Evaluation:
    """An evaluation of the version on the test part of the snapshot, made where absent."""
    if tx.snapshots.get(SNAPSHOT) is None:
        sealed_snapshot(tx)
    scores = Scores(
        snapshot=snapshot,
        split="test",
        split_digest=split_digest,
        rows=100,
        metrics=metrics or {"auc": 0.7},
        slices=slices,
        evaluator="",
        purpose=purpose,
        standard_errors=standard_errors or {},
    )
    return evaluations.record_evaluation(tx, version.meta.name, scores)
