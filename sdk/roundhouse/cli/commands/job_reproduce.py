"""`roundhouse jobs reproduce`: does a job come to the same again?"""

from __future__ import annotations

from typing import Annotated

import typer
from roundhouse.cli import names
from roundhouse.cli.commands.job_watch import watch_job
from roundhouse.cli.money import parse_money
from roundhouse.cli.output import OUT, as_dict, print_json
from roundhouse.cli.session import Json, session_of
from roundhouse.trainer.v1.job_service_pb2 import ReproduceTrainingJobRequest


def reproduce(
    context: typer.Context,
    job: Annotated[str, typer.Argument(help="Job to repeat, by its id or resource name.")],
    job_id: Annotated[
        str, typer.Option("--as", help="Id of the new job; JOB-again if not given.")
    ] = "",
    watch_it: Annotated[bool, typer.Option("--watch", help="Follow it to its end.")] = False,
    tolerance: Annotated[
        float | None,
        typer.Option(
            min=0, max=1, help="The most that numbers may differ by; 0.00001 if not given."
        ),
    ] = None,
    owner: Annotated[str, typer.Option(help="Who pays, instead of the job's owner.")] = "",
    budget: Annotated[
        str, typer.Option(help="The most that it may cost, instead of the job's budget.")
    ] = "",
    queue: Annotated[str, typer.Option(help="Queue that it waits in, instead of the job's.")] = "",
    validate_only: Annotated[
        bool,
        typer.Option("--validate-only", help="See whether it can be repeated, and stop there."),
    ] = False,
    as_json: Json = False,
) -> None:
    """Run a job that has succeeded again, and tell whether it comes to the same.

    The new job makes no version. It tells what is the same to the last bit, what within the
    tolerance, and where the two runs parted. With --watch the exit code is 1 if they parted by
    more, or if not all could be compared.
    """
    session = session_of(context)
    original = names.full(session.project, "trainingJobs", job)
    request = ReproduceTrainingJobRequest(
        name=original,
        training_job_id=job_id or f"{names.last(original)}-again",
        owner=owner,
        budget=parse_money(budget) if budget else None,
        queue=names.full(session.project, "queues", queue) if queue else "",
        tolerance=tolerance,
        validate_only=validate_only,
    )
    with session.client() as client:
        submitted = client.jobs.ReproduceTrainingJob(request)
        if watch_it and not validate_only:
            watch_job(client, submitted.name, as_json)
        elif as_json:
            print_json(as_dict(submitted))
        elif validate_only:
            OUT.print(f"{names.short(original)} can be repeated.")
        else:
            name = names.short(submitted.name)
            OUT.print(f"Submitted {name}: see roundhouse jobs show {name}.")
