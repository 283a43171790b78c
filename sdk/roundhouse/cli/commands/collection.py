"""`roundhouse registry gc`: what nothing reaches, told and removed."""

from __future__ import annotations

import getpass
import time
from typing import Annotated, Final

import typer
from roundhouse.cli import names
from roundhouse.cli.failures import BadOutcome
from roundhouse.cli.output import OUT, as_dict, print_json, print_table, when
from roundhouse.cli.paging import every
from roundhouse.cli.session import Json, session_of
from roundhouse.client import Client
from roundhouse.registry.v1.retention_pb2 import CollectionItem, CollectionPlan, Root
from roundhouse.registry.v1.retention_service_pb2 import (
    GetCollectionPlanRequest,
    ListCollectionItemsRequest,
    PlanGarbageCollectionRequest,
    RunGarbageCollectionRequest,
)

app = typer.Typer(help="Remove what nothing reaches, by a plan.", no_args_is_help=True)

_LOOK_S: Final = 0.2
_ITEMS: Final = 50

PlanName = Annotated[str, typer.Argument(help="Plan's id or resource name.")]


@app.command("plan")
def plan_collection(
    context: typer.Context,
    actor: Annotated[str, typer.Option(help="Who asks.", show_default="you")] = "",
    as_json: Json = False,
) -> None:
    """Tell what a collection would remove, and why; nothing is removed."""
    session = session_of(context)
    request = PlanGarbageCollectionRequest(
        parent=names.parent(session.project), actor=actor or getpass.getuser()
    )
    with session.client() as client:
        plan = client.retention.PlanGarbageCollection(request)
        if as_json:
            print_json(as_dict(plan))
            return
        _print_plan(client, plan, 'state = "PENDING"')
    if plan.planned.ByteSize():
        OUT.print(f"To carry it out: roundhouse registry gc run {names.last(plan.name)}")


@app.command("run")
def run_collection(
    context: typer.Context,
    plan: PlanName,
    digest: Annotated[
        str, typer.Option(help="Carry the plan out only if this is its digest.")
    ] = "",
    wait: Annotated[bool, typer.Option(help="Wait for its end.")] = True,
    as_json: Json = False,
) -> None:
    """Carry a plan out; what is relied on again by now is spared."""
    session = session_of(context)
    name = names.full(session.project, "collectionPlans", plan)
    with session.client() as client:
        found = client.retention.GetCollectionPlan(GetCollectionPlanRequest(name=name))
        found = client.retention.RunGarbageCollection(
            RunGarbageCollectionRequest(name=name, digest=digest or found.digest)
        )
        while wait and found.state == CollectionPlan.STATE_RUNNING:
            time.sleep(_LOOK_S)
            found = client.retention.GetCollectionPlan(GetCollectionPlanRequest(name=name))
        if as_json:
            print_json(as_dict(found))
        else:
            _print_plan(client, found, 'state = "SKIPPED"')
    if wait and found.state != CollectionPlan.STATE_SUCCEEDED:
        raise BadOutcome(f"{plan} is {_name_of(CollectionPlan.State.Name(found.state))}.")


@app.command("show")
def show_collection(
    context: typer.Context,
    plan: PlanName,
    items: Annotated[
        str, typer.Option(help="Which items, such as 'state = \"KEPT\"'; empty for all.")
    ] = "",
    as_json: Json = False,
) -> None:
    """Show a plan: what goes and why, what stays and what keeps it."""
    session = session_of(context)
    name = names.full(session.project, "collectionPlans", plan)
    with session.client() as client:
        found = client.retention.GetCollectionPlan(GetCollectionPlanRequest(name=name))
        if not as_json:
            _print_plan(client, found, items)
            return
        request = ListCollectionItemsRequest(parent=name, filter=items)
        listed = [
            as_dict(item) for item in every(client.retention.ListCollectionItems, request, "items")
        ]
    print_json({"plan": as_dict(found), "items": listed})


def _print_plan(client: Client, plan: CollectionPlan, filter_: str) -> None:
    state = _name_of(CollectionPlan.State.Name(plan.state))
    OUT.print(f"{names.last(plan.name)} is {state}, digest {plan.digest}", highlight=False)
    print_table(
        ("", "versions", "snapshots", "contents", "partial uploads", "bytes"),
        [
            (
                label,
                counts.versions,
                counts.snapshots,
                counts.blobs,
                counts.partial_uploads,
                counts.size_bytes,
            )
            for label, counts in (("planned", plan.planned), ("removed", plan.collected))
        ],
        title=f"Garbage collection, {plan.skipped} spared, runs until {when(plan.expire_time)}",
    )
    if plan.kept:
        kept = [f"{each.count} by {_root(each.kind)}" for each in plan.kept]
        OUT.print(f"Kept: {', '.join(kept)}.", highlight=False)
    request = ListCollectionItemsRequest(parent=plan.name, filter=filter_, page_size=_ITEMS)
    page = client.retention.ListCollectionItems(request)
    if page.items:
        more = ", the first of more" if page.next_page_token else ""
        print_table(
            ("what", "state", "bytes", "why"),
            [
                (
                    names.short(item.subject),
                    _name_of(CollectionItem.State.Name(item.state)),
                    item.size_bytes,
                    item.detail or f"{_root(item.root.kind)} {names.short(item.root.name)}",
                )
                for item in page.items
            ],
            title=f"Items{more}",
        )


def _root(kind: Root.Kind.ValueType) -> str:
    return Root.Kind.Name(kind).removeprefix("KIND_").lower()


def _name_of(state: str) -> str:
    return state.removeprefix("STATE_")
