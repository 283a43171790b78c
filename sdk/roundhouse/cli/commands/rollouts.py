"""`roundhouse rollouts`: versions on their way into service."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer
from roundhouse.cli import names
from roundhouse.cli.commands.endpoints import approval_of
from roundhouse.cli.evidence import evidence_of, shadow_reports
from roundhouse.cli.failures import BadOutcome
from roundhouse.cli.output import (
    ERR,
    OUT,
    as_dict,
    print_json,
    print_json_line,
    print_table,
    when,
)
from roundhouse.cli.paging import every
from roundhouse.cli.session import Json, session_of
from roundhouse.cli.views.rollouts import (
    PHASE_HELP,
    latest_tested,
    phase_name,
    phase_of,
    print_drills,
    print_rollout,
    print_shadow_report,
    state,
    verdict_of,
)
from roundhouse.client import Client
from roundhouse.client.errors import Unavailable
from roundhouse.inference.v1.drill_pb2 import RollbackDrill
from roundhouse.inference.v1.rollout_pb2 import Rollout
from roundhouse.inference.v1.rollout_service_pb2 import (
    AdvanceRolloutRequest,
    CreateRolloutRequest,
    DrillRollbackRequest,
    GetRollbackDrillRequest,
    GetRolloutRequest,
    ListRollbackDrillsRequest,
    ListRolloutsRequest,
    PlanRolloutRequest,
    RollbackEndpointRequest,
    WatchRolloutRequest,
)
from roundhouse.registry.v1.model_service_pb2 import GetVersionRequest

app = typer.Typer(help="Follow versions into service, and bring them back.", no_args_is_help=True)

EndpointName = Annotated[str, typer.Argument(help="Endpoint's id or resource name.")]

_LOOK_S = 0.3

OVER = frozenset(
    {
        Rollout.STATE_SUCCEEDED,
        Rollout.STATE_ROLLED_BACK,
        Rollout.STATE_CANCELLED,
        Rollout.STATE_FAILED,
    }
)


@app.command("list")
def list_rollouts(context: typer.Context, endpoint: EndpointName, as_json: Json = False) -> None:
    """List an endpoint's rollouts, newest first."""
    session = session_of(context)
    request = ListRolloutsRequest(parent=names.full(session.project, "endpoints", endpoint))
    with session.client() as client:
        rollouts = list(every(client.rollouts.ListRollouts, request, "rollouts"))
    if as_json:
        print_json([as_dict(rollout) for rollout in rollouts])
        return
    print_table(
        ("rollout", "version", "before", "state", "phases", "begun", "why"),
        [
            (
                names.last(rollout.name),
                names.short(rollout.version),
                names.short(rollout.previous_version),
                state(rollout),
                ", ".join(verdict_of(outcome) for outcome in rollout.outcomes),
                when(rollout.create_time),
                rollout.message,
            )
            for rollout in rollouts
        ],
        title=f"Rollouts of {endpoint}",
    )


@app.command()
def show(
    context: typer.Context,
    endpoint: EndpointName,
    rollout: Annotated[str, typer.Argument(help="Rollout's id; the newest if left out.")] = "",
    every_phase: Annotated[
        bool, typer.Option("--every-phase", help="Tests of the phases before, too.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Show the phases over time, the present one's tests, and what a shadow answered."""
    session = session_of(context)
    parent = names.full(session.project, "endpoints", endpoint)
    with session.client() as client:
        name = f"{parent}/rollouts/{rollout}" if rollout else _newest(client, parent)
        found = evidence_of(client, name)
    if as_json:
        shadows = [as_dict(report) for report in found.shadows]
        print_json({**as_dict(found.rollout), "shadow_reports": shadows})
        return
    outcomes = list(found.rollout.outcomes)
    told = outcomes if every_phase else latest_tested(outcomes)
    print_rollout(found.rollout, told, found.shadows, datetime.now(UTC))


@app.command()
def plan(
    context: typer.Context,
    phase: Annotated[
        list[str] | None,
        typer.Option(help=PHASE_HELP),
    ] = None,
    at_once: Annotated[
        bool, typer.Option("--at-once", help="No phases: an endpoint's first version.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Print a rollout's plan and the digest that an approval is bound to."""
    session = session_of(context)
    request = PlanRolloutRequest(phases=[phase_of(each) for each in phase or []], at_once=at_once)
    with session.client() as client:
        planned = client.rollouts.PlanRollout(request)
    if as_json:
        print_json(as_dict(planned))
        return
    shares = [phase_name(each) for each in planned.phases]
    OUT.print(f"{' -> '.join(shares) or 'all at once'}: {planned.digest}")


@app.command()
def start(
    context: typer.Context,
    endpoint: EndpointName,
    version: Annotated[str, typer.Argument(help="MODEL/NUMBER, MODEL@ALIAS or resource name.")],
    phase: Annotated[list[str] | None, typer.Option(help=PHASE_HELP)] = None,
    rollout_id: Annotated[str, typer.Option("--id", help="Of the rollout; made up if unset.")] = "",
    check: Annotated[bool, typer.Option("--check", help="Check all of it, begin nothing.")] = False,
    as_json: Json = False,
) -> None:
    """Begin to bring an approved version into service, phase by phase."""
    session = session_of(context)
    with session.client() as client:
        found = client.models.GetVersion(
            GetVersionRequest(name=names.version(session.project, version))
        )
        begun = client.rollouts.CreateRollout(
            CreateRolloutRequest(
                parent=names.full(session.project, "endpoints", endpoint),
                rollout_id=rollout_id or f"r-{uuid.uuid4().hex[:12]}",
                rollout=Rollout(
                    version=found.name,
                    approval=approval_of(client, found.name),
                    phases=[phase_of(each) for each in phase or []],
                ),
                validate_only=check,
            )
        )
    if as_json:
        print_json(as_dict(begun))
        return
    steps = " -> ".join(phase_name(each) for each in begun.phases)
    OUT.print(f"{names.last(begun.name)}: {names.short(begun.version)} {steps}")


@app.command()
def advance(
    context: typer.Context,
    endpoint: EndpointName,
    rollout: Annotated[str, typer.Argument(help="Rollout's id; the newest if left out.")] = "",
    as_json: Json = False,
) -> None:
    """End the present phase as passed, such as a dark one that nothing else ends."""
    session = session_of(context)
    parent = names.full(session.project, "endpoints", endpoint)
    with session.client() as client:
        name = f"{parent}/rollouts/{rollout}" if rollout else _newest(client, parent)
        now = client.rollouts.AdvanceRollout(AdvanceRolloutRequest(name=name))
    if as_json:
        print_json(as_dict(now))
    else:
        OUT.print(_line(now, Rollout()))


@app.command()
def diff(
    context: typer.Context,
    endpoint: EndpointName,
    rollout: Annotated[str, typer.Argument(help="Rollout's id; the newest if left out.")] = "",
    as_json: Json = False,
) -> None:
    """Compare what a shadow would have answered with what was answered."""
    session = session_of(context)
    parent = names.full(session.project, "endpoints", endpoint)
    with session.client() as client:
        name = f"{parent}/rollouts/{rollout}" if rollout else _newest(client, parent)
        found = client.rollouts.GetRollout(GetRolloutRequest(name=name))
        reports = shadow_reports(client, found)
    if not reports:
        raise BadOutcome(f"{names.short(name)} has begun no shadow phase.")
    if as_json:
        print_json([as_dict(report) for report in reports])
        return
    for report in reports:
        print_shadow_report(report)


@app.command()
def watch(
    context: typer.Context,
    endpoint: EndpointName,
    rollout: Annotated[str, typer.Argument(help="Rollout's id; the newest if left out.")] = "",
    as_json: Json = False,
) -> None:
    """Follow a rollout to its end; exit code 1 if the version does not come into service."""
    session = session_of(context)
    parent = names.full(session.project, "endpoints", endpoint)
    with session.client() as client:
        name = f"{parent}/rollouts/{rollout}" if rollout else _newest(client, parent)
        final = Rollout()
        for change in changes_of(client, name):
            if as_json:
                print_json_line(as_dict(change))
            else:
                OUT.print(_line(change, final))
            final = change
    if final.state != Rollout.STATE_SUCCEEDED:
        raise BadOutcome(f"{names.short(final.version)} did not come into service: {final.message}")


@app.command()
def rollback(
    context: typer.Context,
    endpoint: EndpointName,
    reason: Annotated[str, typer.Option(help="Why, for the record.")],
    as_json: Json = False,
) -> None:
    """Bring back the version that served before, at once, also in the middle of a rollout."""
    session = session_of(context)
    request = RollbackEndpointRequest(
        name=names.full(session.project, "endpoints", endpoint), reason=reason
    )
    with session.client() as client:
        undoing = client.rollouts.RollbackEndpoint(request)
    if as_json:
        print_json(as_dict(undoing))
        return
    is_cancelled = undoing.state == Rollout.STATE_CANCELLED
    back = undoing.previous_version if is_cancelled else undoing.version
    OUT.print(f"{endpoint} goes back to {names.short(back)}.")


@app.command()
def drill(
    context: typer.Context,
    endpoint: EndpointName,
    window: Annotated[float, typer.Option(help="Seconds watched before and after, 1 to 60.")] = 5.0,
    yes: Annotated[bool, typer.Option("--yes", help="Don't ask.")] = False,
    as_json: Json = False,
) -> None:
    """Roll back for real, measure it, and bring the champion back; exit code 1 if it failed."""
    session = session_of(context)
    if not yes:
        typer.confirm(
            f"{endpoint} will be served by its previous version for {window:g} s. Go on?",
            abort=True,
        )
    request = DrillRollbackRequest(name=names.full(session.project, "endpoints", endpoint))
    request.window.FromTimedelta(timedelta(seconds=window))
    with session.client() as client:
        found = client.rollouts.DrillRollback(request)
        while found.state == RollbackDrill.STATE_RUNNING:
            time.sleep(_LOOK_S)
            found = client.rollouts.GetRollbackDrill(GetRollbackDrillRequest(name=found.name))
    if as_json:
        print_json(as_dict(found))
    else:
        print_drills(endpoint, [found])
    if found.state != RollbackDrill.STATE_SUCCEEDED:
        raise BadOutcome(f"The drill failed: {found.message}")


@app.command()
def drills(context: typer.Context, endpoint: EndpointName, as_json: Json = False) -> None:
    """List an endpoint's drills with what they measured, newest first."""
    session = session_of(context)
    request = ListRollbackDrillsRequest(parent=names.full(session.project, "endpoints", endpoint))
    with session.client() as client:
        found = list(every(client.rollouts.ListRollbackDrills, request, "drills"))
    if as_json:
        print_json([as_dict(each) for each in found])
    else:
        print_drills(endpoint, found)


def changes_of(client: Client, name: str) -> Iterator[Rollout]:
    """A rollout's changes up to its end, across restarts of the service."""
    while True:
        try:
            for rollout in client.rollouts.WatchRollout(WatchRolloutRequest(name=name)):
                yield rollout
                if rollout.state in OVER:
                    return
        except Unavailable:
            ERR.print("Inference is away; going on when it is back.")
            client.rollouts.GetRollout(GetRolloutRequest(name=name))


def _newest(client: Client, endpoint: str) -> str:
    response = client.rollouts.ListRollouts(ListRolloutsRequest(parent=endpoint, page_size=1))
    if not response.rollouts:
        raise BadOutcome(f"{names.short(endpoint)} has had no rollout.")
    return response.rollouts[0].name


def _line(now: Rollout, before: Rollout) -> str:
    share = ""
    if now.state == Rollout.STATE_RUNNING and now.phases:
        phase = now.phases[now.current_phase]
        share = f", {phase_name(phase)}{' of the traffic' if phase.weight_basis_points else ''}"
    ended = [outcome for outcome in now.outcomes if outcome.HasField("end_time")]
    known = sum(outcome.HasField("end_time") for outcome in before.outcomes)
    verdicts = "".join(
        f"\n  phase {each.phase + 1} {verdict_of(each)}: {each.reason}" for each in ended[known:]
    )
    return (
        f"{when(now.update_time)}  {names.short(now.version)} {state(now)}{share}"
        f"{f': {now.message}' if now.message else ''}{verdicts}"
    )
