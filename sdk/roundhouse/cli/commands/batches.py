"""`roundhouse batches`: predictions for whole snapshots."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Annotated

import typer
from roundhouse.cli import names
from roundhouse.cli.failures import BadOutcome, UsageFault
from roundhouse.cli.output import (
    ERR,
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
from roundhouse.cli.views.batches import BatchView, progress_of
from roundhouse.client import Client
from roundhouse.client.errors import Unavailable
from roundhouse.inference.v1.batch_pb2 import BatchPredictionJob
from roundhouse.inference.v1.batch_service_pb2 import (
    CancelBatchPredictionJobRequest,
    CreateBatchPredictionJobRequest,
    DeleteBatchPredictionJobRequest,
    GetBatchPredictionJobRequest,
    ListBatchPredictionJobsRequest,
    PauseBatchPredictionJobRequest,
    ResumeBatchPredictionJobRequest,
    WatchBatchPredictionJobRequest,
)

app = typer.Typer(help="Predict whole snapshots.", no_args_is_help=True)

COLLECTION = "batchPredictionJobs"

JobName = Annotated[str, typer.Argument(help="Job's id or resource name.")]


@app.command()
def create(
    context: typer.Context,
    job_id: Annotated[str, typer.Argument(help="Id of the new job.")],
    snapshot: Annotated[str, typer.Option(help="DATASET/SNAPSHOT or resource name.")],
    model: Annotated[str, typer.Option(help="MODEL/NUMBER, MODEL@ALIAS or resource name.")],
    part_rows: Annotated[
        int, typer.Option(help="Rows of a file of the output.", show_default="the service's choice")
    ] = 0,
    max_rows_per_second: Annotated[
        int, typer.Option(help="Most rows a second.", show_default="what online requests leave")
    ] = 0,
    watch_it: Annotated[bool, typer.Option("--watch", help="Follow it to its end.")] = False,
    validate_only: Annotated[
        bool, typer.Option("--validate-only", help="Check everything without creating it.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Predict every row of a snapshot, in the background."""
    session = session_of(context)
    request = CreateBatchPredictionJobRequest(
        parent=names.parent(session.project),
        batch_prediction_job_id=job_id,
        batch_prediction_job=BatchPredictionJob(
            snapshot=_snapshot(session.project, snapshot),
            model=names.version(session.project, model),
            part_rows=part_rows,
            max_rows_per_second=max_rows_per_second,
        ),
        validate_only=validate_only,
    )
    with session.client() as client:
        job = client.batches.CreateBatchPredictionJob(request)
        if watch_it and not validate_only:
            _watch(client, job.name, as_json)
        elif as_json:
            print_json(as_dict(job))
        else:
            verb = "can predict" if validate_only else "will predict"
            OUT.print(f"{names.short(job.version)} {verb} {job.rows_total:,} rows.")


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
    request = ListBatchPredictionJobsRequest(parent=names.parent(session.project), filter=only)
    with session.client() as client:
        jobs = list(every(client.batches.ListBatchPredictionJobs, request, "batch_prediction_jobs"))
    if as_json:
        print_json([as_dict(job) for job in jobs])
        return
    print_table(
        ("job", "state", "rows done", "rows", "created", "snapshot", "version"),
        [
            (
                names.short(job.name),
                _state(job),
                job.rows_done,
                job.rows_total,
                when(job.create_time),
                names.short(job.snapshot),
                names.short(job.version),
            )
            for job in jobs
        ],
        title="Batch prediction jobs",
    )


@app.command()
def show(context: typer.Context, job: JobName, as_json: Json = False) -> None:
    """Print how far a job is, what it is made from, and where its output is."""
    session = session_of(context)
    request = GetBatchPredictionJobRequest(name=names.full(session.project, COLLECTION, job))
    with session.client() as client:
        found = client.batches.GetBatchPredictionJob(request)
    if as_json:
        print_json(as_dict(found))
        return
    OUT.print(f"{names.short(found.name)}: {progress_of(found)}", markup=False)
    for what, value in (
        ("failure", found.message),
        ("snapshot", f"{names.short(found.snapshot)}  {found.snapshot_digest}"),
        ("version", f"{names.short(found.version)}  {found.version_digest}"),
        ("output", found.output_url),
        ("manifest", found.manifest_digest),
    ):
        if value:
            OUT.print(f"{what:<9} {value}", markup=False, highlight=False, soft_wrap=True)


@app.command()
def watch(context: typer.Context, job: JobName, as_json: Json = False) -> None:
    """Follow a job to its end; exit code 1 if it does not succeed."""
    session = session_of(context)
    with session.client() as client:
        _watch(client, names.full(session.project, COLLECTION, job), as_json)


@app.command()
def cancel(context: typer.Context, job: JobName, as_json: Json = False) -> None:
    """Cancel a job and remove what it has written."""
    request = CancelBatchPredictionJobRequest(name=_name(context, job))
    _change(context, as_json, lambda client: client.batches.CancelBatchPredictionJob(request))


@app.command()
def pause(context: typer.Context, job: JobName, as_json: Json = False) -> None:
    """Pause a job, which keeps what it has written; other jobs run meanwhile."""
    request = PauseBatchPredictionJobRequest(name=_name(context, job))
    _change(context, as_json, lambda client: client.batches.PauseBatchPredictionJob(request))


@app.command()
def resume(context: typer.Context, job: JobName, as_json: Json = False) -> None:
    """Let a paused job go on where it stopped, in its turn."""
    request = ResumeBatchPredictionJobRequest(name=_name(context, job))
    _change(context, as_json, lambda client: client.batches.ResumeBatchPredictionJob(request))


@app.command()
def delete(context: typer.Context, job: JobName, as_json: Json = False) -> None:
    """Delete a job that is over, and its output."""
    request = DeleteBatchPredictionJobRequest(name=_name(context, job))
    _change(context, as_json, lambda client: client.batches.DeleteBatchPredictionJob(request))


def changes_of(client: Client, name: str) -> Iterator[BatchPredictionJob]:
    """A job's changes up to its end, across restarts of the service."""
    while True:
        try:
            yield from client.batches.WatchBatchPredictionJob(
                WatchBatchPredictionJobRequest(name=name)
            )
        except Unavailable:
            ERR.print("The inference service is away; going on when it is back.")
            # Repeated by the client while the service is away.
            client.batches.GetBatchPredictionJob(GetBatchPredictionJobRequest(name=name))
        else:
            return


def _watch(client: Client, name: str, as_json: bool) -> None:
    job = BatchPredictionJob()
    if as_json:
        for job in changes_of(client, name):
            print_json_line(as_dict(job))
    else:
        with BatchView(ERR) as view:
            for job in changes_of(client, name):
                view.show(job)
        if job.state == BatchPredictionJob.STATE_SUCCEEDED:
            OUT.print(f"{job.rows_total:,} rows are in {job.output_url}.", soft_wrap=True)
    if job.state != BatchPredictionJob.STATE_SUCCEEDED:
        raise BadOutcome(f"{names.short(name)} {_state(job).lower()}. {job.message}".strip())


def _change(
    context: typer.Context, as_json: bool, ask: Callable[[Client], BatchPredictionJob]
) -> None:
    with session_of(context).client() as client:
        changed = ask(client)
    if as_json:
        print_json(as_dict(changed))
    else:
        OUT.print(f"{names.short(changed.name)} is {_state(changed).lower()}.")


def _name(context: typer.Context, job: str) -> str:
    return names.full(session_of(context).project, COLLECTION, job)


def _state(job: BatchPredictionJob) -> str:
    return state_name(BatchPredictionJob.State.Name(job.state))


def _snapshot(project: str, name: str) -> str:
    if name.startswith("projects/"):
        return name
    dataset, _, snapshot = name.partition("/")
    if not (dataset and snapshot):
        raise UsageFault(f"{name!r} names no snapshot; write DATASET/SNAPSHOT.")
    return f"{names.parent(project)}/datasets/{dataset}/snapshots/{snapshot}"
