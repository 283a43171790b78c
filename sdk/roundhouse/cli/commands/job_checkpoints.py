"""`roundhouse jobs checkpoints`: what a job could go on from."""

from __future__ import annotations

from typing import Annotated

import typer
from roundhouse.cli import names
from roundhouse.cli.output import as_dict, print_json, print_table, when
from roundhouse.cli.paging import every
from roundhouse.cli.session import Json, session_of
from roundhouse.trainer.v1.job_service_pb2 import ListCheckpointsRequest


def checkpoints(
    context: typer.Context,
    job: Annotated[str, typer.Argument(help="Job's id or resource name.")],
    as_json: Json = False,
) -> None:
    """List the checkpoints that a job could go on from, by trial and step.

    Those of a job that is over are cleared away.
    """
    session = session_of(context)
    request = ListCheckpointsRequest(parent=names.full(session.project, "trainingJobs", job))
    with session.client() as client:
        found = list(every(client.jobs.ListCheckpoints, request, "checkpoints"))
    if as_json:
        print_json([as_dict(each) for each in found])
        return
    print_table(
        ("trial", "step", "bytes", "loss", "created", "digest"),
        [
            (
                each.trial,
                each.step,
                f"{each.size_bytes:,}",
                f"{each.loss:.4f}" if each.HasField("loss") else "",
                when(each.create_time),
                each.digest[:19],
            )
            for each in found
        ],
        title="Checkpoints",
    )
