"""One attempt at a job that repeats another: data, the same trials, winner, comparison."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace

from roundhouse.registry.v1 import model_pb2

from services.common.rpc.tracing import tracer
from services.trainer.adapters.export.bundle import sha256
from services.trainer.adapters.export.documents import surroundings
from services.trainer.adapters.export.runtime import GraphModel
from services.trainer.adapters.learned_until import TRAINING_FILE
from services.trainer.adapters.learning.shrinking import ShrunkModel
from services.trainer.adapters.learning.trials import TrainedModel
from services.trainer.adapters.packages import package_behind
from services.trainer.adapters.version_records import (
    GRAPH_FILE,
    graph_digest,
    kept_file,
    kept_version,
    made_with,
)
from services.trainer.adapters.worker.attempt import AttemptRun, outcomes
from services.trainer.adapters.worker.building import Prepared, encoder_record
from services.trainer.core.comparing import (
    MadeWith,
    RunRecord,
    compare,
    largest_difference,
    stops,
)
from services.trainer.core.constraints import P99
from services.trainer.core.jobs import Trial
from services.trainer.core.selection import TrialOutcome
from services.trainer.core.states import JobState
from services.trainer.wire import spec_from_proto


@dataclass(frozen=True, eq=False)
class Original:
    """The run that is repeated.

    Attributes:
        record: What it recorded.
        version: That it made; None where that is gone.
    """

    record: RunRecord
    version: model_pb2.ModelVersion | None


class ReproductionRun(AttemptRun):
    """Runs one attempt from its claim to the comparison with the job that it repeats.

    Nothing is audited, tested or registered.
    """

    async def run(self) -> None:
        """Do everything that earlier attempts left, and report how it compares.

        Raises:
            StopTraining: The job is paused, and this is a good place.
            TrainingFailure: The attempt can't go on.
        """
        with tracer().start_as_current_span("trainer.prepare"):
            original = await self._original()
            prepared = await self._load()
        record = original.record
        ends = stops(record.trials, record.points, record.spec.metric)
        bench, trials = await self._try(prepared, ends=ends)
        winner = self._winner(prepared, _as_fast(outcomes(trials), record.trials))
        self._stop_if_told()
        await self._link.entered(JobState.EVALUATING)
        calibration = await self._calibrate(bench, winner)
        model = replace(await self._retrain(bench, winner), calibration=calibration)
        with tracer().start_as_current_span("trainer.export"):
            graph = await asyncio.to_thread(self._graph, prepared, winner, model)
        self._stop_if_told()
        await self._link.entered(JobState.REGISTERING)
        with tracer().start_as_current_span("trainer.compare"):
            repeated = await self._repeated(
                trials[winner.index].id, self._made_with(prepared, winner, model), graph
            )
            await self._compare(original, repeated, prepared, graph)

    async def _original(self) -> Original:
        job = await self._link.job(self._work.reproduces)
        version = await kept_version(self._registry, job.model_version)
        training = await kept_file(self._registry, version, TRAINING_FILE)
        record = RunRecord(
            spec=spec_from_proto(job.spec),
            trials=await self._link.trials(job.name),
            points=await self._link.points(job.name),
            winner=job.best_trial.rpartition("/")[2],
            made_with=None if training is None else made_with(json.loads(training)),
            graph=graph_digest(version),
        )
        return Original(record, version)

    async def _repeated(self, winner: str, made: MadeWith, graph: bytes) -> RunRecord:
        """What the trainer has of this run, as it has it of the original: no attempt is lost."""
        await self._link.flush()
        return RunRecord(
            spec=self._work.spec,
            trials=await self._link.trials(self._work.job),
            points=await self._link.points(self._work.job),
            winner=winner,
            made_with=made,
            graph=sha256(graph),
        )

    def _graph(
        self, prepared: Prepared, winner: TrialOutcome, model: TrainedModel | ShrunkModel
    ) -> bytes:
        table, split = prepared.table, prepared.split
        fitted, validation = table.take(split.fit), table.take(split.validation)
        graph, _ = self._builder.exported(winner.algorithm, model, fitted, validation)
        return graph

    def _made_with(
        self, prepared: Prepared, winner: TrialOutcome, model: TrainedModel | ShrunkModel
    ) -> MadeWith:
        """What `training.json` would say."""
        algorithm = winner.algorithm
        return made_with(
            {
                "snapshots": [{"digest": prepared.snapshot.digest}],
                "split": {"digest": prepared.split.digest},
                "winner": {"algorithm": algorithm, "package": package_behind(algorithm)},
                **surroundings(self._threads, encoder_record(model)),
            }
        )

    async def _compare(
        self, original: Original, repeated: RunRecord, prepared: Prepared, graph: bytes
    ) -> None:
        difference = None
        if original.record.graph != repeated.graph:
            theirs = await kept_file(self._registry, original.version, GRAPH_FILE)
            if theirs is not None:
                difference = await asyncio.to_thread(self._difference, prepared, theirs, graph)
        comparisons = compare(
            original.record, repeated, self._work.tolerance, graph_difference=difference
        )
        for each in comparisons:
            told = f"{each.differing} of {each.compared} differ"
            self._link.logged(f"{each.subject.name}: {each.outcome.name}, {each.note or told}")
        await self._link.reproduced(repeated.winner, comparisons)

    def _difference(self, prepared: Prepared, theirs: bytes, ours: bytes) -> float:
        """What both graphs answer to the rows of the validation part, at the furthest."""
        table, split = prepared.table, prepared.split
        validation = table.take(split.validation)
        told, repeated = (
            GraphModel(graph, self._threads).predicted(validation) for graph in (theirs, ours)
        )
        classes = self._work.spec.task.meaning.has_classes
        deviation = None if classes else float(table.label[split.fit].std())
        return largest_difference(told, repeated, deviation)


def _as_fast(found: Sequence[TrialOutcome], theirs: Sequence[Trial]) -> list[TrialOutcome]:
    """Trials with the latency that they had in the original: this machine's decides nothing."""
    latency = {trial.index: {P99: trial.metrics[P99]} for trial in theirs if P99 in trial.metrics}
    return [
        replace(each, metrics={**each.metrics, **latency.get(each.index, {})}) for each in found
    ]
