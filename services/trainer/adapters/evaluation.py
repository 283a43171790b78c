"""The port `VersionEvaluator`: a version's own graph over a job's rows."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import grpc
import numpy as np
import pyarrow as pa

from services.common.rpc.pins import RegistryPins, Reliance
from services.common.rpc.remote import DependencyUnavailable, RemoteError, as_own_failure
from services.trainer.adapters.evaluation_record import EvaluationRecord
from services.trainer.adapters.export.bundle import classes_of, features_of
from services.trainer.adapters.export.calibrated import uncalibrated_scores
from services.trainer.adapters.export.runtime import GraphModel
from services.trainer.adapters.learned_until import learned_until
from services.trainer.adapters.learning.loading import load_table
from services.trainer.adapters.registry_client import (
    RegistryClient,
    SnapshotRef,
)
from services.trainer.core.errors import EvaluationFailed, UnusableSnapshot
from services.trainer.core.failures import DataFault, DependencyAway, UnusableParent
from services.trainer.core.fairness import ColumnFairness, Decisions, compare_groups
from services.trainer.core.objectives import objective_of
from services.trainer.core.partition import parted_after
from services.trainer.core.ports import VersionScores
from services.trainer.core.purposes import Purpose
from services.trainer.core.scores import Scores, SliceScores, score_slices
from services.trainer.core.spec import JobSpec
from services.trainer.core.splits import Indices, Split, rows_digest

THREADS = 1
"""Of one evaluation: it runs beside everything else that the service does."""


@dataclass(frozen=True, slots=True)
class Measured:
    """What a graph scored on one part of a job's rows.

    Attributes:
        scores: Over all of them.
        uncalibrated: Without its calibration; None where it has none.
        slices: Over slices.
        rows_digest: Identity of the rows.
        latency_ms: Of one row.
        fairness: What it decides for groups.
    """

    scores: Scores
    uncalibrated: Scores | None
    slices: Sequence[SliceScores]
    rows_digest: str
    latency_ms: Mapping[str, float]
    fairness: tuple[ColumnFairness, ...]


@dataclass(frozen=True, eq=False)
class _Graded:
    """A version, and a job's spec with what the version itself takes and tells."""

    graph: bytes
    spec: JobSpec
    classes: tuple[str, ...]


class RegistryVersionEvaluator:
    """Scores versions on snapshots, both out of the registry.

    Args:
        registry: Of both.
    """

    def __init__(self, registry: RegistryClient) -> None:
        self._registry = registry

    async def evaluate(
        self, version: str, spec: JobSpec, part: str, *, purpose: Purpose, request_id: str
    ) -> VersionScores:
        """What a version scores on one part of a job's rows, recorded in the registry.

        Raises:
            EvaluationFailed: The version or the snapshot can't be used for this.
            DependencyUnavailable: The registry does not answer.
        """
        try:
            measured = await self._measured(version, spec, part)
            record = EvaluationRecord(
                version=version,
                snapshot=spec.snapshot,
                split=part,
                split_digest=measured.rows_digest,
                scores=measured.scores,
                uncalibrated=measured.uncalibrated,
                slices=measured.slices,
                evaluator="trainer",
                purpose=purpose,
                latency_ms=measured.latency_ms,
                fairness=measured.fairness,
            )
            name = await self._registry.record(record, uuid.UUID(request_id))
        except (DataFault, UnusableParent, UnusableSnapshot) as error:
            raise EvaluationFailed(version, spec.snapshot, str(error)) from error
        except RemoteError as error:
            raise EvaluationFailed(version, spec.snapshot, error.message) from error
        except DependencyAway as error:
            raise DependencyUnavailable("registry") from error
        return VersionScores(name, measured.scores.values)

    async def _measured(self, version: str, spec: JobSpec, part: str) -> Measured:
        found = await self._registry.version(version)
        graph = await self._registry.artifact(found, "model.onnx")
        signature = json.loads(await self._registry.artifact(found, "signature.json"))
        files = await self._files(await self._registry.snapshot(spec.snapshot))
        seen = replace(spec, features=features_of(signature))
        graded = _Graded(graph, seen, classes_of(signature, spec.task))
        until_us = await learned_until(spec, self._registry)
        return await asyncio.to_thread(_measure, graded, files, part, until_us)

    async def _files(self, snapshot: SnapshotRef) -> list[pa.BufferReader]:
        return [
            pa.BufferReader(await self._registry.snapshot_file(snapshot, path))
            for path in snapshot.files
        ]


def _measure(
    graded: _Graded, files: Sequence[pa.BufferReader], part: str, until_us: int | None
) -> Measured:
    spec = graded.spec
    table = load_table(files, spec, graded.classes)
    rows = _rows(parted_after(spec, table, until_us), part)
    chosen = table.take(rows)
    model = GraphModel(graded.graph, THREADS)
    told = model.predicted(chosen)
    if not np.all(np.isfinite(told)):
        raise DataFault("the version gives rows nothing that can be scored")
    objective = objective_of(spec.task, graded.classes)
    return Measured(
        scores=objective.score(chosen.label, told),
        uncalibrated=uncalibrated_scores(graded.graph, chosen, objective, THREADS),
        slices=score_slices(chosen.label, told, chosen.slices, objective.score),
        rows_digest=rows_digest(rows),
        latency_ms=model.latency_ms(chosen),
        fairness=compare_groups(
            spec.fairness,
            Decisions(chosen.label, told, spec.threshold),
            chosen.slices,
            spec.seed,
        ),
    )


def _rows(split: Split, part: str) -> Indices:
    parts = {
        "train": split.train,
        "validation": split.validation,
        "test": split.test,
        "all": split.all,
    }
    return parts[part]


class RegistrySnapshots:
    """The port `Snapshots`.

    Args:
        registry: That has them.
        pins: Of this service's jobs.
    """

    def __init__(self, registry: RegistryClient, pins: RegistryPins) -> None:
        self._registry = registry
        self._pins = pins

    async def columns(self, snapshot: str) -> Mapping[str, str]:
        """Arrow type of each column of a sealed snapshot.

        Raises:
            UnusableSnapshot: There is no such snapshot, or it is not sealed.
            SnapshotHeld: A privacy hold is on it.
            DependencyUnavailable: The registry does not answer.
        """
        try:
            return (await self._registry.snapshot(snapshot)).columns
        except DependencyAway as error:
            raise DependencyUnavailable("registry") from error

    async def pin(self, target: str, job: str) -> None:
        """Keep a snapshot or a version for a job that is about to be stored.

        Raises:
            UnusableSnapshot: It is gone.
            DependencyUnavailable: The registry does not answer.
        """
        try:
            await self._pins.pin(Reliance(job, target))
        except RemoteError as error:
            if error.code in (grpc.StatusCode.NOT_FOUND, grpc.StatusCode.FAILED_PRECONDITION):
                raise UnusableSnapshot(f"is {target!r}: {error.message}") from error
            raise as_own_failure(error) or DependencyUnavailable("registry") from error
