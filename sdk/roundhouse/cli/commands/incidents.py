"""`roundhouse incidents`: alerts by what caused them, and failed attempts at training."""

from __future__ import annotations

import getpass
import uuid
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer
from roundhouse.cli import names
from roundhouse.cli.failures import UsageFault
from roundhouse.cli.output import OUT, as_dict, print_json, print_table, state_name, when
from roundhouse.cli.paging import every
from roundhouse.cli.session import Actor, Json, Reason, session_of
from roundhouse.client import Client
from roundhouse.monitor.v1.alert_pb2 import Alert
from roundhouse.monitor.v1.alert_service_pb2 import (
    AcknowledgeAlertRequest,
    EscalateAlertRequest,
    ListAlertsRequest,
    ListJobFailuresRequest,
    QueryIncidentsRequest,
    ResolveAlertRequest,
    SilenceAlertRequest,
)
from roundhouse.monitor.v1.slo_pb2 import ErrorBudget

app = typer.Typer(
    help="See what is wrong by its cause, and say what is done about it.", no_args_is_help=True
)

IncidentId = Annotated[str, typer.Argument(help="Its id, as `list` shows it, or how that begins.")]
Receiver = Annotated[
    str,
    typer.Option(
        "--to",
        help="Who is told, as the monitor's escalation policy calls them. Without it: of a page, "
        "who comes next; of a ticket, which becomes a page, those who are told of every alert.",
    ),
]


@app.command("list")
def list_incidents(
    context: typer.Context,
    days: Annotated[
        float, typer.Option(min=0, help="Those over for at most so many days, too.")
    ] = 0.0,
    as_json: Json = False,
) -> None:
    """List the project's incidents, pages first."""
    session = session_of(context)
    request = QueryIncidentsRequest(parent=names.parent(session.project))
    if days:
        request.changed_since.FromDatetime(datetime.now(UTC) - timedelta(days=days))
    with session.client() as client:
        incidents = client.alerts.QueryIncidents(request).incidents
    if as_json:
        print_json([as_dict(incident) for incident in incidents])
        return
    print_table(
        ("incident", "severity", "state", "what", "cause", "since", "alerts", "failures", "owners"),
        [
            (
                incident.id[:8],
                _severity(incident.severity),
                state_name(Alert.State.Name(incident.state)).lower(),
                ", ".join(incident.error_classes),
                names.short(incident.cause),
                when(incident.create_time),
                incident.alerts,
                incident.failures,
                ", ".join(incident.owners),
            )
            for incident in incidents
        ],
        title=f"Incidents of {session.project}",
    )


@app.command()
def show(context: typer.Context, incident: IncidentId, as_json: Json = False) -> None:
    """Show an incident's alerts, with the evidence of each."""
    session = session_of(context)
    with session.client() as client:
        alerts = _alerts(client, session.project, incident)
    if as_json:
        print_json([as_dict(alert) for alert in alerts])
        return
    for alert in alerts:
        print_alert(alert)


@app.command()
def acknowledge(
    context: typer.Context, incident: IncidentId, reason: Reason = "", actor: Actor = ""
) -> None:
    """Say that you see to an incident: to its alerts, and to those that join it."""

    def step(client: Client, name: str) -> None:
        client.alerts.AcknowledgeAlert(
            AcknowledgeAlertRequest(name=name, actor=actor or getpass.getuser(), reason=reason)
        )

    OUT.print(f"{_with_each(context, incident, step)} alerts acknowledged.", highlight=False)


@app.command()
def silence(
    context: typer.Context,
    incident: IncidentId,
    reason: Reason,
    hours: Annotated[float, typer.Option(min=0.01, max=720, help="For how long.")] = 1.0,
    actor: Actor = "",
) -> None:
    """Have nothing sent about an incident for a while."""
    until = datetime.now(UTC) + timedelta(hours=hours)

    def step(client: Client, name: str) -> None:
        request = SilenceAlertRequest(name=name, actor=actor or getpass.getuser(), reason=reason)
        request.until_time.FromDatetime(until)
        client.alerts.SilenceAlert(request)

    count = _with_each(context, incident, step)
    OUT.print(f"{count} alerts silent until {until:%Y-%m-%d %H:%M} UTC.", highlight=False)


@app.command()
def escalate(
    context: typer.Context,
    incident: IncidentId,
    reason: Reason,
    to: Receiver = "",
    actor: Actor = "",
) -> None:
    """Take an incident up to somebody else, by its loudest alert: a ticket becomes a page."""
    session = session_of(context)
    with session.client() as client:
        alerts = _unresolved(_alerts(client, session.project, incident))
        if not alerts:
            raise UsageFault(f"The incident {incident!r} is over.")
        done = client.alerts.EscalateAlert(
            EscalateAlertRequest(
                name=max(alerts, key=_loudness).name,
                actor=actor or getpass.getuser(),
                reason=reason,
                receiver=to,
            )
        )
    OUT.print(escalation_told(done), highlight=False)


@app.command()
def resolve(
    context: typer.Context, incident: IncidentId, reason: Reason, actor: Actor = ""
) -> None:
    """End an incident's alerts; what goes on failing opens new ones."""

    def step(client: Client, name: str) -> None:
        client.alerts.ResolveAlert(
            ResolveAlertRequest(name=name, actor=actor or getpass.getuser(), reason=reason)
        )

    OUT.print(f"{_with_each(context, incident, step)} alerts resolved.", highlight=False)


@app.command()
def failures(
    context: typer.Context,
    error_class: Annotated[
        str, typer.Option("--class", help="Of this error class alone, such as WORKER_LOST.")
    ] = "",
    node: Annotated[str, typer.Option(help="On this machine alone.")] = "",
    limit: Annotated[int, typer.Option(min=1, max=1000, help="Most of them.")] = 50,
    as_json: Json = False,
) -> None:
    """List failed attempts at training jobs, newest first: also those that called nobody."""
    session = session_of(context)
    wanted = {"error_class": error_class, "node": node}
    request = ListJobFailuresRequest(
        parent=names.parent(session.project),
        page_size=limit,
        filter=" AND ".join(f'{field} = "{value}"' for field, value in wanted.items() if value),
    )
    with session.client() as client:
        found = client.alerts.ListJobFailures(request).job_failures
    if as_json:
        print_json([as_dict(failure) for failure in found])
        return
    print_table(
        ("when", "job", "attempt", "class", "node", "owner", "what"),
        [
            (
                when(failure.time),
                names.last(failure.job),
                failure.attempt,
                failure.error_class,
                failure.node,
                failure.owner,
                failure.message,
            )
            for failure in found
        ],
        title=f"Failed attempts in {session.project}",
    )


def print_alert(alert: Alert) -> None:
    """One alert with all that is known about it."""
    severity, state = _severity(alert.severity), state_name(Alert.State.Name(alert.state)).lower()
    OUT.print(f"[bold]{alert.error_class}[/] {severity}, {state}: {names.short(alert.resource)}")
    OUT.print(alert.summary, markup=False, highlight=False)
    failure, evidence = alert.trouble.failure, alert.trouble.evidence
    known = {
        "alert": alert.name,
        "incident": alert.incident,
        "owner": alert.owner,
        "runbook": alert.runbook,
        "failures": str(alert.trouble.failures or ""),
        "job": failure.job,
        "node": failure.node,
        "snapshot": failure.snapshot,
        "model": failure.model,
        "episode": failure.episode,
        "trace": failure.trace_id,
        "checkpoint": evidence.checkpoint,
        "metrics": ", ".join(
            f"{each.trial} {each.series} {each.value:.4g} at {each.step}"
            for each in evidence.metrics
        ),
    }
    for name, value in known.items():
        if value:
            OUT.print(f"  {name:<10} {value}", markup=False, highlight=False)
    for line in evidence.log:
        OUT.print(f"  | {line}", markup=False, highlight=False)
    for step in alert.steps:
        to = f" to {step.receiver}" if step.receiver else ""
        told = f"  {when(step.time)} {step.action.lower()}{to} by {step.actor}: {step.reason}"
        OUT.print(told, markup=False, highlight=False)


def escalation_told(alert: Alert) -> str:
    """What an escalation has come to, in a line."""
    receiver = alert.steps[-1].receiver
    return f"Escalated to {receiver}." if receiver else "It is a page now."


def _loudness(alert: Alert) -> tuple[bool, bool]:
    """Pages above tickets, and of those what people were told of."""
    is_page = alert.severity == ErrorBudget.SEVERITY_PAGE
    return is_page, not alert.HasField("trouble") or alert.trouble.sent


def _with_each(context: typer.Context, incident: str, step: Callable[[Client, str], None]) -> int:
    """Take a step with each alert of an incident that is not over; how many there are."""
    session = session_of(context)
    with session.client() as client:
        alerts = _unresolved(_alerts(client, session.project, incident))
        for alert in alerts:
            step(client, alert.name)
    return len(alerts)


def _alerts(client: Client, project: str, incident: str) -> Sequence[Alert]:
    request = ListAlertsRequest(parent=names.parent(project))
    if _is_whole(incident):
        request.filter = f'incident = "{incident}"'
    found = [
        alert
        for alert in every(client.alerts.ListAlerts, request, "alerts")
        if alert.incident.startswith(incident)
    ]
    incidents = {alert.incident for alert in found}
    if len(incidents) != 1:
        which = "No incident has" if not incidents else f"{len(incidents)} incidents have"
        raise UsageFault(f"{which} an id that begins with {incident!r}.")
    return found


def _is_whole(incident: str) -> bool:
    try:
        return uuid.UUID(incident).hex == incident
    except ValueError:
        return False


def _unresolved(alerts: Sequence[Alert]) -> Sequence[Alert]:
    return [alert for alert in alerts if alert.state != Alert.STATE_RESOLVED]


def _severity(severity: ErrorBudget.Severity.ValueType) -> str:
    return state_name(ErrorBudget.Severity.Name(severity)).lower()
