"""`roundhouse alerts`: what a person has to see to, and what they say about it."""

from __future__ import annotations

import getpass
from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer
from roundhouse.cli import names
from roundhouse.cli.commands.incidents import Receiver, escalation_told, print_alert
from roundhouse.cli.output import OUT, as_dict, print_json, print_table, state_name, when
from roundhouse.cli.paging import every
from roundhouse.cli.session import Actor, Json, Reason, session_of
from roundhouse.monitor.v1.alert_pb2 import Alert
from roundhouse.monitor.v1.alert_service_pb2 import (
    AcknowledgeAlertRequest,
    EscalateAlertRequest,
    GetAlertRequest,
    ListAlertsRequest,
    ResolveAlertRequest,
    SilenceAlertRequest,
)
from roundhouse.monitor.v1.slo_pb2 import ErrorBudget

app = typer.Typer(help="See alerts, and say what is done about them.", no_args_is_help=True)

AlertName = Annotated[
    str,
    typer.Argument(
        help="MONITOR/ALERT, or ALERT about training, as `list` shows it, or the resource name."
    ),
]


@app.command("list")
def list_alerts(
    context: typer.Context,
    monitor: Annotated[
        str,
        typer.Argument(help="Monitor's id or resource name; without it, all of the project's."),
    ] = "",
    resolved: Annotated[bool, typer.Option("--resolved", help="Those that are over, too.")] = False,
    as_json: Json = False,
) -> None:
    """List the alerts of a monitor, or of the project with those about its training jobs."""
    session = session_of(context)
    of_monitor = names.full(session.project, "monitors", monitor)
    request = ListAlertsRequest(
        parent=of_monitor if monitor else names.parent(session.project),
        filter="" if resolved else "state != RESOLVED",
    )
    with session.client() as client:
        alerts = list(every(client.alerts.ListAlerts, request, "alerts"))
    if as_json:
        print_json([as_dict(alert) for alert in alerts])
        return
    print_table(
        ("alert", "severity", "state", "about", "since", "owner", "runbook", "what"),
        [
            (
                _short(alert.name),
                state_name(ErrorBudget.Severity.Name(alert.severity)).lower(),
                state_name(Alert.State.Name(alert.state)).lower(),
                names.last(alert.resource),
                when(alert.create_time),
                alert.owner,
                alert.runbook,
                alert.summary,
            )
            for alert in alerts
        ],
        title=f"Alerts of {monitor or session.project}",
    )


@app.command()
def show(context: typer.Context, alert: AlertName, as_json: Json = False) -> None:
    """Show an alert with its evidence and what was done about it."""
    session = session_of(context)
    with session.client() as client:
        found = client.alerts.GetAlert(GetAlertRequest(name=_full(session.project, alert)))
    if as_json:
        print_json(as_dict(found))
    else:
        print_alert(found)


@app.command()
def acknowledge(
    context: typer.Context, alert: AlertName, reason: Reason = "", actor: Actor = ""
) -> None:
    """Say that you see to an alert."""
    session = session_of(context)
    request = AcknowledgeAlertRequest(
        name=_full(session.project, alert), actor=actor or getpass.getuser(), reason=reason
    )
    with session.client() as client:
        done = client.alerts.AcknowledgeAlert(request)
    OUT.print(f"Acknowledged by {done.steps[-1].actor}.", highlight=False)


@app.command()
def silence(
    context: typer.Context,
    alert: AlertName,
    reason: Reason,
    hours: Annotated[float, typer.Option(min=0.01, max=720, help="For how long.")] = 1.0,
    actor: Actor = "",
) -> None:
    """Have nothing sent about an alert for a while."""
    session = session_of(context)
    request = SilenceAlertRequest(
        name=_full(session.project, alert), actor=actor or getpass.getuser(), reason=reason
    )
    request.until_time.FromDatetime(datetime.now(UTC) + timedelta(hours=hours))
    with session.client() as client:
        done = client.alerts.SilenceAlert(request)
    OUT.print(f"Silent until {when(done.silenced_until)}.", highlight=False)


@app.command()
def escalate(
    context: typer.Context,
    alert: AlertName,
    reason: Reason,
    to: Receiver = "",
    actor: Actor = "",
) -> None:
    """Make a page of a ticket, or take a page up to somebody else."""
    session = session_of(context)
    request = EscalateAlertRequest(
        name=_full(session.project, alert),
        actor=actor or getpass.getuser(),
        reason=reason,
        receiver=to,
    )
    with session.client() as client:
        done = client.alerts.EscalateAlert(request)
    OUT.print(escalation_told(done), highlight=False)


@app.command()
def resolve(context: typer.Context, alert: AlertName, reason: Reason, actor: Actor = "") -> None:
    """End an alert; if its rule still fires, a new one begins."""
    session = session_of(context)
    request = ResolveAlertRequest(
        name=_full(session.project, alert), actor=actor or getpass.getuser(), reason=reason
    )
    with session.client() as client:
        done = client.alerts.ResolveAlert(request)
    OUT.print(f"Resolved by {done.steps[-1].actor}.", highlight=False)


def _full(project: str, alert: str) -> str:
    if "/alerts/" in alert:
        return alert
    monitor, slash, alert_id = alert.rpartition("/")
    if not slash:
        return f"{names.parent(project)}/alerts/{alert_id}"
    return f"{names.full(project, 'monitors', monitor)}/alerts/{alert_id}"


def _short(alert: str) -> str:
    parent, _, alert_id = alert.partition("/alerts/")
    return f"{names.last(parent)}/{alert_id}" if "/monitors/" in parent else alert_id
