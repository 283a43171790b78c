"""`roundhouse retrains declare` and `events`: what policies retrain on beside the data."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import typer
from roundhouse.cli import names
from roundhouse.cli.output import OUT, as_dict, print_json, print_table, when
from roundhouse.cli.paging import every
from roundhouse.cli.session import Json, session_of
from roundhouse.monitor.v1.retrain_service_pb2 import (
    DeclareRetrainEventRequest,
    ListRetrainEventsRequest,
)

MonitorName = Annotated[str, typer.Argument(help="Monitor's id or resource name.")]


def declare(
    context: typer.Context,
    monitor: MonitorName,
    kind: Annotated[str, typer.Argument(help="Kind that policies name, as catalog-changed.")],
    reason: Annotated[str, typer.Option(help="What happened, for people.")],
    at: Annotated[
        datetime | None,
        typer.Option(help="Event time, UTC. Default: the end of the newest judged window."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Tell of something that happened; policies that ask for its kind retrain."""
    session = session_of(context)
    request = DeclareRetrainEventRequest(
        parent=names.full(session.project, "monitors", monitor), kind=kind, description=reason
    )
    if at is not None:
        request.event_time.FromDatetime(at)
    with session.client() as client:
        event = client.retraining.DeclareRetrainEvent(request)
    if as_json:
        print_json(as_dict(event))
    else:
        OUT.print(f"Declared {kind} at {when(event.event_time)}.", highlight=False)


def events(context: typer.Context, monitor: MonitorName, as_json: Json = False) -> None:
    """List what was declared, and the snapshots that policies ask for, newest first."""
    session = session_of(context)
    request = ListRetrainEventsRequest(parent=names.full(session.project, "monitors", monitor))
    with session.client() as client:
        found = list(every(client.retraining.ListRetrainEvents, request, "retrain_events"))
    if as_json:
        print_json([as_dict(event) for event in found])
        return
    print_table(
        ("event time", "kind", "what happened", "known since"),
        [
            (
                when(event.event_time),
                event.kind or "snapshot sealed",
                event.description,
                when(event.create_time),
            )
            for event in found
        ],
        title=f"Events of {monitor}",
    )
