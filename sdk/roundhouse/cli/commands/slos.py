"""`roundhouse slos`: objectives, and what is left of their budgets."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer
from roundhouse.cli import names
from roundhouse.cli.openslo import as_openslo, read_openslo
from roundhouse.cli.output import ERR, OUT, as_dict, print_json, print_table, when
from roundhouse.cli.paging import every
from roundhouse.cli.prometheus_rules import NotCountable, Rule, as_document, rules_of
from roundhouse.cli.session import Json, session_of
from roundhouse.client import Client
from roundhouse.client.errors import NotFound
from roundhouse.monitor.v1.monitor_service_pb2 import GetMonitorRequest
from roundhouse.monitor.v1.slo_pb2 import ErrorBudget, Slo
from roundhouse.monitor.v1.slo_service_pb2 import (
    CreateSloRequest,
    DeleteSloRequest,
    GetErrorBudgetRequest,
    GetSloRequest,
    ListSlosRequest,
    UpdateSloRequest,
)

app = typer.Typer(help="Keep objectives and see their error budgets.", no_args_is_help=True)

SloName = Annotated[str, typer.Argument(help="MONITOR/SLO, or the objective's resource name.")]
MonitorName = Annotated[str, typer.Argument(help="Monitor's id or resource name.")]


@app.command("import")
def import_slos(
    context: typer.Context,
    file: Annotated[
        Path, typer.Argument(exists=True, dir_okay=False, help="OpenSLO v1, one or more documents.")
    ],
    as_json: Json = False,
) -> None:
    """Create the objectives of a file, or change them to what it says."""
    session = session_of(context)
    wanted = read_openslo(file)
    with session.client() as client:
        kept = [
            _apply(client, names.full(session.project, "monitors", monitor), slo_id, slo)
            for monitor, slo_id, slo in wanted
        ]
    if as_json:
        print_json([as_dict(slo) for slo in kept])
    else:
        for slo in kept:
            OUT.print(f"{names.short(slo.name)} wants {slo.target:.6g} good.", highlight=False)


@app.command("export")
def export_slos(context: typer.Context, monitor: MonitorName) -> None:
    """Print a monitor's objectives as OpenSLO v1."""
    session = session_of(context)
    with session.client() as client:
        documents = [as_openslo(slo) for slo in _listed(client, session.project, monitor)]
    sys.stdout.write("---\n".join(documents))


@app.command("rules")
def print_rules(context: typer.Context, monitor: MonitorName) -> None:
    """Print rules with which Prometheus watches a monitor's objectives.

    Those that no metric counts are named on standard error and left to the monitor itself.
    """
    session = session_of(context)
    name = names.full(session.project, "monitors", monitor)
    rules: list[Rule] = []
    with session.client() as client:
        watched = client.monitors.GetMonitor(GetMonitorRequest(name=name))
        for slo in _listed(client, session.project, monitor):
            budget = client.slos.GetErrorBudget(GetErrorBudgetRequest(name=slo.name))
            try:
                rules += rules_of(watched, slo, budget)
            except NotCountable as fault:
                ERR.print(f"Left out: {fault}.", highlight=False)
    sys.stdout.write(as_document(watched, rules))


@app.command("list")
def list_slos(context: typer.Context, monitor: MonitorName, as_json: Json = False) -> None:
    """Show a monitor's objectives and what is left of their budgets."""
    session = session_of(context)
    with session.client() as client:
        slos = _listed(client, session.project, monitor)
        budgets = [client.slos.GetErrorBudget(GetErrorBudgetRequest(name=slo.name)) for slo in slos]
    if as_json:
        print_json(
            [
                {"slo": as_dict(slo), "budget": as_dict(budget)}
                for slo, budget in zip(slos, budgets, strict=True)
            ]
        )
        return
    print_table(
        (
            "objective",
            "counts",
            "target",
            "so far",
            "bad",
            "of",
            "budget left",
            "fires",
            "in force",
        ),
        [
            (
                names.last(slo.name),
                slo.WhichOneof("sli"),
                f"{slo.target:.6g}",
                f"{budget.sli:.6g}",
                budget.total_events - budget.good_events,
                budget.total_events,
                f"{budget.remaining:.1%}",
                _loudest(budget),
                ", ".join(map(_action, budget.restraints)),
            )
            for slo, budget in zip(slos, budgets, strict=True)
        ],
        title=f"Objectives of {monitor}",
    )


@app.command("show")
def show_slo(context: typer.Context, slo: SloName, as_json: Json = False) -> None:
    """Show one objective's budget and how fast it burns."""
    session = session_of(context)
    with session.client() as client:
        name = _full(session.project, slo)
        found = client.slos.GetSlo(GetSloRequest(name=name))
        budget = client.slos.GetErrorBudget(GetErrorBudgetRequest(name=name))
    if as_json:
        print_json({"slo": as_dict(found), "budget": as_dict(budget)})
        return
    until = when(budget.time) if budget.HasField("time") else "nothing was counted yet"
    OUT.print(
        f"{slo}: {budget.good_events} of {budget.total_events} good, {budget.remaining:.1%} "
        f"of the budget left ({until})",
        highlight=False,
    )
    print_table(
        ("rule", "windows", "fires above", "long", "short", "bad", "fires"),
        [
            (
                _severity(rate),
                f"{rate.long_window.seconds // 60} min and {rate.short_window.seconds // 60} min",
                f"{rate.factor:g}",
                f"{rate.long_rate:.3g}",
                f"{rate.short_rate:.3g}",
                rate.bad_events,
                rate.firing,
            )
            for rate in budget.burn_rates
        ],
        title="Burn rates",
    )
    for restraint in budget.restraints:
        OUT.print(f"{restraint.reason} ({when(restraint.since_time)})", highlight=False)


@app.command("delete")
def delete_slo(context: typer.Context, slo: SloName) -> None:
    """Forget an objective."""
    session = session_of(context)
    with session.client() as client:
        client.slos.DeleteSlo(DeleteSloRequest(name=_full(session.project, slo)))
    OUT.print(f"Deleted {slo}.")


def _apply(client: Client, parent: str, slo_id: str, slo: Slo) -> Slo:
    slo.name = f"{parent}/slos/{slo_id}"
    try:
        client.slos.GetSlo(GetSloRequest(name=slo.name))
    except NotFound:
        slo.ClearField("name")
        return client.slos.CreateSlo(CreateSloRequest(parent=parent, slo_id=slo_id, slo=slo))
    return client.slos.UpdateSlo(UpdateSloRequest(slo=slo))


def _listed(client: Client, project: str, monitor: str) -> list[Slo]:
    request = ListSlosRequest(parent=names.full(project, "monitors", monitor))
    return list(every(client.slos.ListSlos, request, "slos"))


def _full(project: str, slo: str) -> str:
    monitor, _, slo_id = slo.partition("/")
    return slo if "/slos/" in slo else f"{names.full(project, 'monitors', monitor)}/slos/{slo_id}"


def _loudest(budget: ErrorBudget) -> str:
    firing = [rate for rate in budget.burn_rates if rate.firing]
    return _severity(firing[0]) if firing else ""


def _action(restraint: ErrorBudget.Restraint) -> str:
    name = Slo.BudgetAction.Name(restraint.action).removeprefix("BUDGET_ACTION_")
    return name.lower().replace("_", "-")


def _severity(rate: ErrorBudget.BurnRate) -> str:
    return ErrorBudget.Severity.Name(rate.severity).removeprefix("SEVERITY_").lower()
