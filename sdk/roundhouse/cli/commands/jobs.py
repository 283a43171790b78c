"""`roundhouse jobs`: training jobs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from google.protobuf import json_format
from roundhouse.cli import names
from roundhouse.cli.commands.job_checkpoints import checkpoints
from roundhouse.cli.commands.job_data import data
from roundhouse.cli.commands.job_freezes import freeze, freezes, thaw
from roundhouse.cli.commands.job_plot import plot
from roundhouse.cli.commands.job_reproduce import reproduce
from roundhouse.cli.commands.job_show import print_trials, show
from roundhouse.cli.commands.job_stats import stats
from roundhouse.cli.commands.job_watch import watch_job
from roundhouse.cli.failures import UsageFault
from roundhouse.cli.money import parse_money
from roundhouse.cli.output import (
    OUT,
    as_dict,
    print_json,
    print_json_line,
    print_table,
    state_name,
    when,
)
from roundhouse.cli.paging import every
from roundhouse.cli.session import Json, session_of
from roundhouse.trainer.v1.job_pb2 import JobSpec, TrainingJob
from roundhouse.trainer.v1.job_service_pb2 import (
    CancelTrainingJobRequest,
    CreateTrainingJobRequest,
    ListTrainingJobsRequest,
    ListTrialsRequest,
    PauseTrainingJobRequest,
    ResumeTrainingJobRequest,
    TailLogsRequest,
)

app = typer.Typer(help="Train models.", no_args_is_help=True)

JobName = Annotated[str, typer.Argument(help="Job's id or resource name.")]


@app.command()
def submit(
    context: typer.Context,
    job_id: Annotated[str, typer.Argument(help="Id of the new job.")],
    spec: Annotated[
        Path, typer.Option(exists=True, dir_okay=False, help="JobSpec of the contract, as JSON.")
    ],
    parent: Annotated[
        str, typer.Option(help="MODEL/NUMBER to take over from, instead of the spec's.")
    ] = "",
    watch_it: Annotated[bool, typer.Option("--watch", help="Follow it to its end.")] = False,
    owner: Annotated[str, typer.Option(help="Who pays.")] = "",
    budget: Annotated[
        str, typer.Option(help="The most that it may cost, such as '2.50 USD'.")
    ] = "",
    priority: Annotated[
        int, typer.Option(min=0, max=100, help="Higher goes first, and may displace lower.")
    ] = 0,
    critical: Annotated[
        bool, typer.Option("--critical", help="Start it also while the project is frozen.")
    ] = False,
    queue: Annotated[str, typer.Option(help="Queue that it waits in.")] = "default",
    workers: Annotated[
        str,
        typer.Option(
            metavar="MIN-MAX",
            help="Workers that train a network together, such as 2-4 or 3, instead of the spec's.",
        ),
    ] = "",
    validate_only: Annotated[
        bool, typer.Option("--validate-only", help="Check the spec without submitting it.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Submit a training job."""
    session = session_of(context)
    asked = _spec(spec)
    if parent:
        asked.parent_version = names.version(session.project, parent)
    if workers:
        least, most = _workers(workers)
        asked.parallelism.min_workers, asked.parallelism.max_workers = least, most
    request = CreateTrainingJobRequest(
        parent=names.parent(session.project),
        training_job_id=job_id,
        training_job=TrainingJob(
            spec=asked,
            owner=owner,
            budget=parse_money(budget) if budget else None,
            priority=priority,
            critical=critical,
            queue=names.full(session.project, "queues", queue),
        ),
        validate_only=validate_only,
    )
    with session.client() as client:
        job = client.jobs.CreateTrainingJob(request)
        if watch_it and not validate_only:
            watch_job(client, job.name, as_json)
        elif as_json:
            print_json(as_dict(job))
        else:
            OUT.print(
                f"The spec of {job_id} is good."
                if validate_only
                else f"Submitted {names.short(job.name)}."
            )


@app.command()
def pause(context: typer.Context, job: JobName, as_json: Json = False) -> None:
    """Stop a job at its next trial or checkpoint, to be resumed."""
    session = session_of(context)
    name = names.full(session.project, "trainingJobs", job)
    with session.client() as client:
        paused = client.jobs.PauseTrainingJob(PauseTrainingJobRequest(name=name))
    if as_json:
        print_json(as_dict(paused))
    else:
        OUT.print(f"{names.short(name)} stops at its next trial or checkpoint.")


@app.command()
def resume(context: typer.Context, job: JobName, as_json: Json = False) -> None:
    """Go on with a job that was paused or stopped for its budget."""
    session = session_of(context)
    name = names.full(session.project, "trainingJobs", job)
    with session.client() as client:
        resumed = client.jobs.ResumeTrainingJob(ResumeTrainingJobRequest(name=name))
    if as_json:
        print_json(as_dict(resumed))
    else:
        OUT.print(f"{names.short(name)} goes on.")


@app.command()
def trials(context: typer.Context, job: JobName, as_json: Json = False) -> None:
    """List a job's trials."""
    session = session_of(context)
    request = ListTrialsRequest(parent=names.full(session.project, "trainingJobs", job))
    with session.client() as client:
        found = list(every(client.jobs.ListTrials, request, "trials"))
    if as_json:
        print_json([as_dict(trial) for trial in found])
        return
    print_trials(found)


@app.command()
def watch(context: typer.Context, job: JobName, as_json: Json = False) -> None:
    """Follow a job to its end; exit code 1 if it does not succeed."""
    session = session_of(context)
    with session.client() as client:
        watch_job(client, names.full(session.project, "trainingJobs", job), as_json)


@app.command("list")
def list_jobs(
    context: typer.Context,
    only: Annotated[
        str, typer.Option("--filter", help="AIP-160 filter, such as 'state = RUNNING'.")
    ] = "",
    as_json: Json = False,
) -> None:
    """List jobs, newest first."""
    session = session_of(context)
    request = ListTrainingJobsRequest(parent=names.parent(session.project), filter=only)
    with session.client() as client:
        jobs = list(every(client.jobs.ListTrainingJobs, request, "training_jobs"))
    if as_json:
        print_json([as_dict(job) for job in jobs])
        return
    print_table(
        ("job", "state", "progress", "submitted", "attempts", "made or repeats"),
        [
            (
                names.short(job.name),
                state_name(TrainingJob.State.Name(job.state)),
                f"{job.progress:.0%}",
                when(job.create_time),
                len(job.attempts),
                names.short(job.model_version or job.reproduces),
            )
            for job in jobs
        ],
        title="Training jobs",
    )


@app.command()
def logs(
    context: typer.Context,
    job: JobName,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until it is over.")] = False,
    as_json: Json = False,
) -> None:
    """Print a job's log."""
    session = session_of(context)
    request = TailLogsRequest(name=names.full(session.project, "trainingJobs", job), follow=follow)
    with session.client() as client:
        for line in client.jobs.TailLogs(request):
            if as_json:
                print_json_line(as_dict(line))
            else:
                OUT.print(f"{when(line.time)}  {line.text}", markup=False, highlight=False)


app.command()(checkpoints)
app.command()(data)
app.command()(plot)
app.command()(reproduce)
app.command()(show)
app.command()(stats)
app.command()(freeze)
app.command()(thaw)
app.command()(freezes)


@app.command()
def cancel(context: typer.Context, job: JobName, as_json: Json = False) -> None:
    """Cancel a job that is not over."""
    session = session_of(context)
    name = names.full(session.project, "trainingJobs", job)
    with session.client() as client:
        cancelled = client.jobs.CancelTrainingJob(CancelTrainingJobRequest(name=name))
    if as_json:
        print_json(as_dict(cancelled))
    else:
        OUT.print(f"Cancelled {names.short(name)}.")


def _spec(file: Path) -> JobSpec:
    try:
        return json_format.Parse(file.read_text(), JobSpec())
    except json_format.ParseError as error:
        raise UsageFault(f"{file} is no JobSpec: {error}") from error


def _workers(asked: str) -> tuple[int, int]:
    """Least and most, of `2-4` or `3`."""
    least, _, most = asked.partition("-")
    try:
        return int(least), int(most or least)
    except ValueError as error:
        raise UsageFault(f"--workers is {asked!r}; must be such as 2-4 or 3") from error
