"""`roundhouse jobs show`, and a job's trials as a table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer
from roundhouse.cli import names
from roundhouse.cli.output import OUT, as_dict, print_json, print_table, state_name, when
from roundhouse.cli.paging import every
from roundhouse.cli.session import Json, session_of
from roundhouse.cli.views.beside_parent import beside_parent
from roundhouse.cli.views.reproduction import print_reproduction
from roundhouse.client import Client
from roundhouse.registry.v1.evaluation_service_pb2 import GetEvaluationRequest
from roundhouse.trainer.v1.job_pb2 import Acceleration, JobSpec, TrainingJob, Trial
from roundhouse.trainer.v1.job_service_pb2 import GetTrainingJobRequest, ListTrialsRequest


def show(
    context: typer.Context,
    job: Annotated[str, typer.Argument(help="Job's id or resource name.")],
    as_json: Json = False,
) -> None:
    """Show a job with its trials: what each scored, also by cross-validation, and which won."""
    session = session_of(context)
    name = names.full(session.project, "trainingJobs", job)
    with session.client() as client:
        found = client.jobs.GetTrainingJob(GetTrainingJobRequest(name=name))
        trials = list(every(client.jobs.ListTrials, ListTrialsRequest(parent=name), "trials"))
        beside = [] if as_json else _beside_parent(client, found)
    if as_json:
        print_json({"job": as_dict(found), "trials": [as_dict(trial) for trial in trials]})
        return
    for line in [*_lines(found), *beside]:
        OUT.print(line, markup=False, highlight=False)
    print_trials(trials, best=found.best_trial)
    if found.reproduces:
        print_reproduction(found)


def print_trials(trials: Sequence[Trial], best: str = "") -> None:
    """Print trials as a table, the one called `best` marked.

    Gains over the trivial baseline come with their 95 % interval, folds as mean and one standard
    deviation.
    """
    print_table(
        ("trial", "state", "progress", "validation", "over the baseline", "folds", "note"),
        [
            (
                names.last(trial.name),
                state_name(Trial.State.Name(trial.state)),
                f"{trial.progress:.0%}",
                ", ".join(_told(key, value) for key, value in sorted(trial.metrics.items())),
                _gains(trial),
                _folds(trial),
                trial.message or ("won" if trial.name == best else ""),
            )
            for trial in trials
        ],
        title="Trials",
    )


def _lines(job: TrainingJob) -> list[str]:
    state = state_name(TrainingJob.State.Name(job.state)).lower()
    lines = [
        f"{names.short(job.name)}: {state}, {job.progress:.0%} done",
        f"submitted {when(job.create_time)}, attempts {len(job.attempts)}",
    ]
    if job.spec.cross_validation.folds:
        lines.append(
            f"picks by mean {job.spec.metric} over {job.spec.cross_validation.folds} folds"
        )
    else:
        lines.append(f"picks by {job.spec.metric} on the validation part")
    if job.spec.HasField("parallelism"):
        asked = job.spec.parallelism
        lines.append(
            f"trained by {asked.min_workers} to {asked.max_workers} workers, batches in "
            f"{asked.shards} shards: see roundhouse jobs plot --series workers"
        )
    if job.spec.HasField("acceleration"):
        lines.append(_accelerated(job.spec.acceleration))
    if job.model_version:
        lines.append(f"made {names.short(job.model_version)} of {names.last(job.best_trial)}")
    if job.reproduces:
        lines.append(f"repeats {names.short(job.reproduces)} and makes no version")
    if job.state == TrainingJob.STATE_QUEUED:
        lines.append(f"waits in {names.last(job.queue)}: see roundhouse queues list")
    if job.frozen_by:
        lines.append(f"held by {names.last(job.frozen_by)}: see roundhouse jobs freezes")
    if job.error.message:
        lines.append(f"error: {job.error.message}. {job.error.remedy}")
    return lines


def _accelerated(asked: Acceleration) -> str:
    on_gpu = asked.device == Acceleration.DEVICE_GPU
    mixed = asked.precision == Acceleration.PRECISION_BFLOAT16_MIXED
    how = [
        "on a GPU of each worker" if on_gpu else "on the CPU",
        "in bfloat16" if mixed else "in 32 bits",
        *(["compiled"] if asked.compile else []),
    ]
    return f"networks are trained {', '.join(how)}"


def _beside_parent(client: Client, job: TrainingJob) -> list[str]:
    """What its test says of the version beside the one that it was made from."""
    if not job.evaluation or job.spec.mode in (JobSpec.MODE_UNSPECIFIED, JobSpec.MODE_FULL):
        return []
    request = GetEvaluationRequest(name=job.evaluation)
    evaluation = client.evaluations.GetEvaluation(request)
    return list(beside_parent(job.spec.parent_version, evaluation.metrics))


def _gains(trial: Trial) -> str:
    return ", ".join(
        f"{key} {gain.value:+.4f} [{gain.low:+.4f}, {gain.high:+.4f}]"
        for key, gain in sorted(trial.gains.items())
    )


def _folds(trial: Trial) -> str:
    return ", ".join(
        f"{key} {mean:.4f} ± {trial.fold_spread[key]:.4f}"
        if key in trial.fold_spread
        else f"{key} {mean:.4f}"
        for key, mean in sorted(trial.fold_mean.items())
    )


def _told(metric: str, value: float) -> str:
    return f"{metric} {value:,.0f}" if metric.endswith("_bytes") else f"{metric} {value:.4f}"
