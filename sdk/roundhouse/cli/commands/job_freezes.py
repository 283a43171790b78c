"""`roundhouse jobs freeze`, `thaw` and `freezes`: holding a project's waiting jobs back."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer
from roundhouse.cli import names
from roundhouse.cli.output import OUT, as_dict, print_json, print_table, when
from roundhouse.cli.paging import every
from roundhouse.cli.session import Json, session_of
from roundhouse.trainer.v1.queue_service_pb2 import (
    CreateFreezeRequest,
    DeleteFreezeRequest,
    Freeze,
    ListFreezesRequest,
)

FreezeName = Annotated[str, typer.Argument(help="Freeze's id.")]


def freeze(
    context: typer.Context,
    freeze_id: FreezeName,
    reason: Annotated[str, typer.Option(help="Why, for the people whose jobs wait.")],
    hours: Annotated[
        float | None, typer.Option(min=0.001, help="When it ends by itself. Default: never.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Start none of the project's waiting jobs but critical ones; running ones go on."""
    session = session_of(context)
    wanted = Freeze(reason=reason)
    if hours is not None:
        wanted.expire_time.FromDatetime(datetime.now(UTC) + timedelta(hours=hours))
    request = CreateFreezeRequest(
        parent=names.parent(session.project), freeze_id=freeze_id, freeze=wanted
    )
    with session.client() as client:
        found = client.queues.CreateFreeze(request)
    if as_json:
        print_json(as_dict(found))
    else:
        OUT.print(f"Froze {session.project}: {reason}", highlight=False)


def thaw(context: typer.Context, freeze_id: FreezeName) -> None:
    """End a freeze; what no other one holds is started."""
    session = session_of(context)
    name = names.full(session.project, "freezes", freeze_id)
    with session.client() as client:
        client.queues.DeleteFreeze(DeleteFreezeRequest(name=name))
    OUT.print(f"Ended {names.last(name)}.")


def freezes(context: typer.Context, as_json: Json = False) -> None:
    """List what holds the project's waiting jobs back."""
    session = session_of(context)
    request = ListFreezesRequest(parent=names.parent(session.project))
    with session.client() as client:
        found = list(every(client.queues.ListFreezes, request, "freezes"))
    if as_json:
        print_json([as_dict(each) for each in found])
        return
    print_table(
        ("freeze", "since", "until", "why"),
        [
            (
                names.last(each.name),
                when(each.create_time),
                when(each.expire_time) if each.HasField("expire_time") else "it is ended",
                each.reason,
            )
            for each in found
        ],
        title=f"Freezes of {session.project}",
    )
