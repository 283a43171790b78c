"""`roundhouse holds`: people's orders about versions and snapshots."""

from __future__ import annotations

import getpass
from enum import StrEnum
from typing import Annotated

import typer
from roundhouse.cli import names
from roundhouse.cli.output import OUT, as_dict, print_json, print_table, when
from roundhouse.cli.paging import every
from roundhouse.cli.session import Actor, Json, Reason, session_of
from roundhouse.registry.v1.retention_pb2 import Hold
from roundhouse.registry.v1.retention_service_pb2 import (
    ListHoldsRequest,
    PlaceHoldRequest,
    ReleaseHoldRequest,
)

app = typer.Typer(
    help="Keep bytes for a reason of law or one's own, or keep rows from training.",
    no_args_is_help=True,
)


class Kind(StrEnum):
    """What a hold orders."""

    LEGAL = "legal"
    MANUAL = "manual"
    PRIVACY = "privacy"


@app.command()
def place(
    context: typer.Context,
    target: Annotated[
        str, typer.Argument(help="Version as MODEL/NUMBER, or a resource name of either.")
    ],
    kind: Annotated[
        Kind, typer.Option(help="legal and manual keep the bytes; privacy forbids training.")
    ],
    reason: Reason,
    actor: Actor = "",
    as_json: Json = False,
) -> None:
    """Put a hold on a version or a snapshot."""
    session = session_of(context)
    hold = Hold(
        target=names.version(session.project, target),
        kind=Hold.Kind.Value(f"KIND_{kind.name}"),
        placed_by=actor or getpass.getuser(),
        reason=reason,
    )
    with session.client() as client:
        placed = client.retention.PlaceHold(
            PlaceHoldRequest(parent=names.parent(session.project), hold=hold)
        )
    if as_json:
        print_json(as_dict(placed))
    else:
        OUT.print(f"Placed {names.last(placed.name)} on {names.short(placed.target)}.")


@app.command()
def release(
    context: typer.Context,
    hold: Annotated[str, typer.Argument(help="Hold's id or resource name.")],
    reason: Reason,
    actor: Actor = "",
    as_json: Json = False,
) -> None:
    """Lift a hold; it stays on record."""
    session = session_of(context)
    request = ReleaseHoldRequest(
        name=names.full(session.project, "holds", hold),
        actor=actor or getpass.getuser(),
        reason=reason,
    )
    with session.client() as client:
        released = client.retention.ReleaseHold(request)
    if as_json:
        print_json(as_dict(released))
    else:
        OUT.print(f"Released {names.last(released.name)}.")


@app.command("list")
def list_holds(
    context: typer.Context,
    released: Annotated[bool, typer.Option("--released", help="Those that are over, too.")] = False,
    as_json: Json = False,
) -> None:
    """List the holds in force."""
    session = session_of(context)
    request = ListHoldsRequest(
        parent=names.parent(session.project), filter="" if released else 'state = "ACTIVE"'
    )
    with session.client() as client:
        holds = list(every(client.retention.ListHolds, request, "holds"))
    if as_json:
        print_json([as_dict(hold) for hold in holds])
        return
    print_table(
        ("hold", "kind", "on", "by", "since", "why", "released"),
        [
            (
                names.last(hold.name),
                Hold.Kind.Name(hold.kind).removeprefix("KIND_").lower(),
                names.short(hold.target),
                hold.placed_by,
                when(hold.create_time),
                hold.reason,
                f"{hold.released_by}: {hold.release_reason}" if hold.released_by else "",
            )
            for hold in holds
        ],
        title="Holds",
    )
