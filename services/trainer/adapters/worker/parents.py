"""The version that a job takes over from: fetched, and held against the version it becomes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

import numpy as np
import pyarrow as pa
from roundhouse.registry.v1 import model_pb2

from services.common.rpc.remote import RemoteError
from services.trainer.adapters.export.bundle import classes_of, features_of
from services.trainer.adapters.export.runtime import GraphModel
from services.trainer.adapters.learning.encoding import TextReader
from services.trainer.adapters.learning.loading import load_table
from services.trainer.adapters.learning.native import WEIGHTS_FILE, NativeModel, native_from
from services.trainer.adapters.learning.parent import Parent
from services.trainer.adapters.registry_client import RegistryClient
from services.trainer.core.failures import DataFault, UnusableParent
from services.trainer.core.objectives import Predicted
from services.trainer.core.parents import Comparison, Mode, fidelity
from services.trainer.core.scores import score_slices
from services.trainer.core.spec import FeatureKind, JobSpec
from services.trainer.core.splits import Split
from services.trainer.core.tables import Table

SAMPLE_ROWS: Final = 1000
ALONE_ROWS: Final = 200
ONE_THREAD: Final = 1
"""How many a row's latency is measured with, of a version and of its parent."""


async def parent_of(
    spec: JobSpec, registry: RegistryClient, files: Sequence[pa.Buffer]
) -> Parent | None:
    """The parent version with what it gives each row of the snapshot; None with `Mode.FULL`.

    Args:
        spec: Of the job.
        registry: That has the version.
        files: Parquet files of the snapshot, in their order.

    Raises:
        UnusableParent: It is not there, not committed, of another task, or can't be trained
            further as `spec` asks.
        DataFault: The snapshot lacks a column that it takes, or has a class that it doesn't know.
        DependencyAway: The registry does not answer.
    """
    if spec.mode is Mode.FULL:
        return None
    try:
        version = await registry.version(spec.parent_version)
    except RemoteError as error:
        raise UnusableParent(f"parent_version: {error.message}") from error
    if version.state != model_pb2.ModelVersion.STATE_READY:
        state = model_pb2.ModelVersion.State.Name(version.state).removeprefix("STATE_")
        raise UnusableParent(f"parent_version {version.name} is {state}; it must be READY")
    graph = await registry.artifact(version, "model.onnx")
    signature = await registry.artifact(version, "signature.json")
    classes = _classes(spec, signature)
    told, sample = await asyncio.to_thread(
        _told, spec, graph, signature=signature, classes=classes, files=files
    )
    return Parent(
        version=version.name,
        digest=version.digest,
        graph=graph,
        signature=signature,
        told=told,
        sample=sample,
        native=await _native(spec, registry, version) if spec.mode.goes_on else None,
        task=spec.task,
        classes=classes,
    )


async def _native(
    spec: JobSpec, registry: RegistryClient, version: model_pb2.ModelVersion
) -> NativeModel:
    """What the candidates of `spec` go on from."""
    if WEIGHTS_FILE not in {file.path for file in version.files}:
        raise UnusableParent(f"parent_version {version.name} has no {WEIGHTS_FILE} to go on from")
    native = native_from(await registry.artifact(version, WEIGHTS_FILE))
    for index, candidate in enumerate(spec.candidates):
        if candidate.algorithm != native.algorithm:
            raise UnusableParent(
                f"candidates[{index}].algorithm is {candidate.algorithm}, but parent_version is "
                f"of {native.algorithm}, which alone can go on from it"
            )
    for kind, theirs in (
        (FeatureKind.NUMERIC, native.encoder.medians),
        (FeatureKind.CATEGORICAL, native.encoder.categories),
        (FeatureKind.TEXT, native.texts),
    ):
        if list(spec.named(kind)) != list(theirs):
            raise UnusableParent(
                f"features of {kind} are {', '.join(spec.named(kind)) or 'none'}; those of "
                f"parent_version are {', '.join(theirs) or 'none'}, in this order"
            )
    return native


def check_reader(parent: Parent | None, reader: TextReader | None) -> None:
    """That a text is read by the encoder that the parent's weights have learned with.

    Raises:
        UnusableParent: Another one bears its name.
    """
    if parent is None or parent.native is None or reader is None:
        return
    (digest,) = parent.native.texts.values()
    if digest != reader.encoder.digest:
        raise UnusableParent(
            f"encoder {reader.encoder.name!r} is {reader.encoder.digest}; parent_version has "
            f"learned with {digest}: configure that one, or train in full"
        )


def validation_metrics(parent: Parent, table: Table, split: Split) -> Mapping[str, float]:
    """What the parent scores on the validation part of `table`."""
    rows = split.validation
    return parent.objective.score(table.label[rows], parent.told[rows]).values


def compared(
    parent: Parent, table: Table, split: Split, *, graph: bytes, told: Predicted
) -> Comparison:
    """A version beside its parent on the test part.

    Args:
        parent: With what it tells of every row of `table`.
        table: The snapshot.
        split: Its parts.
        graph: The version's.
        told: What that tells of the rows of the test part.
    """
    test = table.take(split.test)
    theirs = parent.told[split.test]
    objective = parent.objective
    return Comparison(
        parent=parent.version,
        parent_digest=parent.digest,
        validation=validation_metrics(parent, table, split),
        scores=objective.score(test.label, theirs),
        slices=score_slices(test.label, theirs, test.slices, objective.score),
        fidelity=fidelity(told, theirs, parent.task),
        batch_difference=_batch_difference(graph, test, told),
        size_bytes=len(graph),
        parent_size_bytes=len(parent.graph),
    )


def _batch_difference(graph: bytes, test: Table, among_others: Predicted) -> float:
    model = GraphModel(graph, ONE_THREAD)
    rows = range(min(ALONE_ROWS, len(test)))
    alone = np.concatenate([model.predicted(test.take(np.array([row]))) for row in rows])
    return float(np.abs(alone - among_others[: len(alone)]).max())


def latencies_ms(graph: bytes, test: Table, parent: Parent | None) -> dict[str, float]:
    """How long one row takes, as `GraphModel.latency_ms` has it; `parent.` before the parent's."""
    found = GraphModel(graph, ONE_THREAD).latency_ms(test)
    if parent is not None:
        theirs = GraphModel(parent.graph, ONE_THREAD).latency_ms(parent.sample)
        found |= {f"parent.{name}": value for name, value in theirs.items()}
    return found


def _classes(spec: JobSpec, signature: bytes) -> tuple[str, ...]:
    try:
        return classes_of(json.loads(signature), spec.task)
    except DataFault as error:
        raise UnusableParent(f"parent_version can't be taken over from: its {error}") from error


def _told(
    spec: JobSpec,
    graph: bytes,
    *,
    signature: bytes,
    classes: Sequence[str],
    files: Sequence[pa.Buffer],
) -> tuple[Predicted, Table]:
    """What the parent tells of every row, and some rows as it takes them."""
    seen = replace(spec, features=features_of(json.loads(signature)))
    table = load_table([pa.BufferReader(file) for file in files], seen, classes)
    told = GraphModel(graph, ONE_THREAD).predicted(table)
    if not np.all(np.isfinite(told)):
        raise UnusableParent("parent_version tells nothing finite of some rows")
    return told, table.take(np.arange(min(SAMPLE_ROWS, len(table))))
