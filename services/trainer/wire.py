"""What the trainer and its workers both read and write: messages to and from the core's values."""

from __future__ import annotations

from google.protobuf.json_format import MessageToDict
from roundhouse.trainer.v1 import job_pb2, worker_service_pb2

from services.common.rpc.convert import (
    from_duration,
    from_struct,
    from_timestamp,
    to_duration,
    to_struct,
    to_timestamp,
)
from services.trainer.core.cross_validation import FoldScores, means, spreads
from services.trainer.core.gains import Gain
from services.trainer.core.jobs import MetricPoint, StoredCheckpoint, Trial
from services.trainer.core.parameters import Parameters
from services.trainer.core.spec import JobSpec, spec_from_json
from services.trainer.core.states import TrialState


def spec_from_proto(spec: job_pb2.JobSpec) -> JobSpec:
    """A spec as it was sent, with the contract's defaults."""
    return spec_from_json(MessageToDict(spec, preserving_proto_field_name=True))


def trial_name(job: str, trial: str) -> str:
    """Resource name of a job's trial."""
    return f"{job}/trials/{trial}"


def trial_to_proto(job: str, trial: Trial) -> job_pb2.Trial:
    """A trial of the job called `job`."""
    return job_pb2.Trial(
        name=trial_name(job, trial.id),
        algorithm=trial.algorithm,
        parameters=to_struct(trial.parameters),
        state=job_pb2.Trial.State.Value(f"STATE_{trial.state.value}"),
        progress=trial.progress,
        metrics=trial.metrics,
        duration=to_duration(trial.duration_s),
        message=trial.message,
        chosen_parameters=to_struct(trial.chosen_parameters) if trial.chosen_parameters else None,
        candidate=trial.candidate,
        folds=[
            job_pb2.Trial.Fold(learn_rows=fold.learn_rows, rows=fold.rows, metrics=fold.metrics)
            for fold in trial.folds
        ],
        gains={
            name: job_pb2.Trial.Gain(value=gain.value, low=gain.low, high=gain.high)
            for name, gain in trial.gains.items()
        },
        fold_mean=means(trial.folds),
        fold_spread=spreads(trial.folds),
    )


def trial_from_proto(found: job_pb2.Trial, index: int = 0) -> Trial:
    """A trial, at `index` among those of its job: a worker's report says none."""
    return Trial(
        id=found.name.rpartition("/")[2],
        index=index,
        algorithm=found.algorithm,
        parameters=numbers(from_struct(found.parameters)),
        state=TrialState(job_pb2.Trial.State.Name(found.state).removeprefix("STATE_")),
        progress=found.progress,
        metrics=dict(found.metrics),
        duration_s=from_duration(found.duration),
        message=found.message,
        chosen_parameters=numbers(from_struct(found.chosen_parameters)),
        candidate=found.candidate,
        folds=tuple(
            FoldScores(fold.learn_rows, fold.rows, dict(fold.metrics)) for fold in found.folds
        ),
        gains={name: Gain(gain.value, gain.low, gain.high) for name, gain in found.gains.items()},
    )


def point_to_proto(point: MetricPoint) -> job_pb2.MetricPoint:
    """A point."""
    return job_pb2.MetricPoint(
        trial=point.trial,
        series=point.series,
        step=point.step,
        value=point.value,
        time=to_timestamp(point.time),
    )


def point_from_proto(point: job_pb2.MetricPoint) -> MetricPoint:
    """A point."""
    return MetricPoint(
        point.trial, point.series, point.step, point.value, from_timestamp(point.time)
    )


def checkpoint_to_proto(found: StoredCheckpoint) -> worker_service_pb2.Checkpoint:
    """A checkpoint."""
    return worker_service_pb2.Checkpoint(
        trial=found.trial,
        step=found.step,
        digest=found.digest,
        size_bytes=found.size_bytes,
        create_time=to_timestamp(found.create_time),
        loss=found.loss,
    )


def checkpoint_from_proto(checkpoint: worker_service_pb2.Checkpoint) -> StoredCheckpoint:
    """A checkpoint."""
    return StoredCheckpoint(
        trial=checkpoint.trial,
        step=checkpoint.step,
        digest=checkpoint.digest,
        size_bytes=checkpoint.size_bytes,
        create_time=from_timestamp(checkpoint.create_time),
        loss=checkpoint.loss if checkpoint.HasField("loss") else None,
    )


def numbers(values: dict[str, object]) -> Parameters:
    """Those of `values` that are numbers."""
    return {name: float(value) for name, value in values.items() if isinstance(value, int | float)}
