"""`roundhouse aliases`: movable names of versions."""

from __future__ import annotations

import getpass
from typing import Annotated

import typer
from roundhouse.cli import names
from roundhouse.cli.output import OUT, as_dict, print_json, print_table, when
from roundhouse.cli.paging import every
from roundhouse.cli.session import Json, session_of
from roundhouse.client.errors import NotFound
from roundhouse.registry.v1.model_service_pb2 import (
    GetAliasRequest,
    GetVersionRequest,
    ListAliasesRequest,
    ListAliasMovesRequest,
    MoveAliasesRequest,
)

app = typer.Typer(help="Move the names that versions go by.", no_args_is_help=True)

ModelName = Annotated[str, typer.Argument(help="Model's id or resource name.")]


@app.command("list")
def list_aliases(context: typer.Context, model: ModelName, as_json: Json = False) -> None:
    """List a model's aliases."""
    session = session_of(context)
    request = ListAliasesRequest(parent=names.full(session.project, "models", model))
    with session.client() as client:
        aliases = list(every(client.models.ListAliases, request, "aliases"))
    if as_json:
        print_json([as_dict(alias) for alias in aliases])
        return
    print_table(
        ("alias", "version", "protected", "moved"),
        [
            (
                names.last(alias.name),
                names.short(alias.version),
                alias.protected,
                when(alias.update_time),
            )
            for alias in aliases
        ],
        title=f"Aliases of {model}",
    )


@app.command()
def move(
    context: typer.Context,
    alias: Annotated[str, typer.Argument(help="MODEL@ALIAS or resource name.")],
    version: Annotated[str, typer.Argument(help="MODEL/NUMBER, MODEL@ALIAS or resource name.")],
    reason: Annotated[str, typer.Option(help="Why, for the record.")] = "",
    actor: Annotated[str, typer.Option(help="Who moves it.", show_default="you")] = "",
    approval: Annotated[
        str, typer.Option(help="Approval that shall allow it.", show_default="the newest that does")
    ] = "",
    plan_digest: Annotated[
        str, typer.Option("--plan", help="Digest of the plan that the approval is bound to.")
    ] = "",
    validate_only: Annotated[
        bool, typer.Option("--validate-only", help="Check the move without making it.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Point an alias at another version, if nobody else has moved it meanwhile."""
    session = session_of(context)
    name = names.version(session.project, alias)
    with session.client() as client:
        target = client.models.GetVersion(
            GetVersionRequest(name=names.version(session.project, version))
        )
        try:
            current = client.models.GetAlias(GetAliasRequest(name=name)).version
        except NotFound:
            current = ""
        step = MoveAliasesRequest.Move(
            alias=name,
            to_version=target.name,
            expected_version=current,
            approval=approval,
            plan_digest=plan_digest,
        )
        moved = client.models.MoveAliases(
            MoveAliasesRequest(
                moves=[step],
                actor=actor or getpass.getuser(),
                reason=reason,
                validate_only=validate_only,
            )
        )
    if as_json:
        print_json(as_dict(moved))
    else:
        verb = "may move" if validate_only else "moved"
        before = f" from {names.short(current)}" if current else ""
        OUT.print(f"{alias} {verb}{before} to {names.short(target.name)}.")


@app.command()
def history(context: typer.Context, model: ModelName, as_json: Json = False) -> None:
    """List the past moves of a model's aliases, newest first."""
    session = session_of(context)
    request = ListAliasMovesRequest(parent=names.full(session.project, "models", model))
    with session.client() as client:
        moves = list(every(client.models.ListAliasMoves, request, "moves"))
    if as_json:
        print_json([as_dict(each) for each in moves])
        return
    print_table(
        ("when", "alias", "from", "to", "by", "why"),
        [
            (
                when(each.time),
                names.last(each.alias),
                names.short(each.from_version),
                names.short(each.to_version),
                each.actor,
                each.reason,
            )
            for each in moves
        ],
        title=f"Alias moves of {model}",
    )
