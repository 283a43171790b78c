"""Following a training job to its end."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from roundhouse.cli import names
from roundhouse.cli.failures import BadOutcome
from roundhouse.cli.output import ERR, OUT, as_dict, print_json_line, state_name
from roundhouse.cli.views.reproduction import GOOD, print_reproduction, sentence
from roundhouse.cli.views.training import TrainingView
from roundhouse.client import Client
from roundhouse.client.errors import Unavailable
from roundhouse.trainer.v1.job_pb2 import TrainingJob
from roundhouse.trainer.v1.job_service_pb2 import (
    ListTrainingJobsRequest,
    WatchTrainingJobRequest,
    WatchTrainingJobResponse,
)

OVER: Final = frozenset(
    {
        TrainingJob.STATE_SUCCEEDED,
        TrainingJob.STATE_FAILED,
        TrainingJob.STATE_CANCELLED,
        # Until somebody raises the budget, nothing more happens.
        TrainingJob.STATE_BUDGET_EXCEEDED,
    }
)


def changes_of(client: Client, job: str) -> Iterator[WatchTrainingJobResponse]:
    """A job's changes up to its end, across restarts of the trainer."""
    while True:
        try:
            for change in client.jobs.WatchTrainingJob(WatchTrainingJobRequest(name=job)):
                yield change
                if change.training_job.state in OVER:
                    return
        except Unavailable:
            ERR.print("The trainer is away; going on when it is back.")
            client.jobs.ListTrainingJobs(
                ListTrainingJobsRequest(parent=job.split("/trainingJobs/")[0], page_size=1)
            )


def watch_job(client: Client, name: str, as_json: bool) -> None:
    """Follow a job to its end, and print what came of it.

    Raises:
        BadOutcome: It did not succeed, or did not come to what the job that it repeats came to.
    """
    job = TrainingJob()
    if as_json:
        for change in changes_of(client, name):
            job = change.training_job
            print_json_line(as_dict(change))
    else:
        with TrainingView(ERR) as view:
            for change in changes_of(client, name):
                job = change.training_job
                view.show(change)
        if job.reproduction.verdict:
            print_reproduction(job)
        elif job.state == TrainingJob.STATE_SUCCEEDED:
            OUT.print(f"{names.short(name)} made {names.short(job.model_version)}.")
    if job.state != TrainingJob.STATE_SUCCEEDED:
        state = state_name(TrainingJob.State.Name(job.state)).lower()
        said = f"{job.error.message} {job.error.remedy}".strip()
        raise BadOutcome(f"{names.short(name)} {state}. {said}".strip())
    if job.reproduces and job.reproduction.verdict not in GOOD:
        raise BadOutcome(f"{names.short(name)} {sentence(job)}.")
