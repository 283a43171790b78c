"""`roundhouse retrains`: what retrain policies act on, did, and would have done."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer
from google.type.money_pb2 import Money
from roundhouse.cli import names
from roundhouse.cli.commands.retrain_events import declare, events
from roundhouse.cli.commands.retrain_explain import explain
from roundhouse.cli.documents import read_document
from roundhouse.cli.failures import UsageFault
from roundhouse.cli.money import shown
from roundhouse.cli.output import OUT, as_dict, day, print_json, print_table, state_name
from roundhouse.cli.session import Json, session_of
from roundhouse.monitor.v1.monitor_pb2 import RetrainDecision, RetrainPolicy
from roundhouse.monitor.v1.retrain_service_pb2 import (
    DryRunRetrainingRequest,
    DryRunRetrainingResponse,
    GetRetrainPolicyRequest,
)

app = typer.Typer(help="See what retrain policies act on, did and would do.", no_args_is_help=True)

_Decision = DryRunRetrainingResponse.Decision
_Summary = DryRunRetrainingResponse.Summary


@app.callback()
def retrains() -> None:
    """See what retrain policies act on, did, and would have done."""


app.command()(explain)
app.command()(declare)
app.command()(events)


@app.command("dry-run")
def dry_run(
    context: typer.Context,
    monitor: Annotated[str, typer.Argument(help="Monitor's id or resource name.")],
    since: Annotated[datetime, typer.Option(help="Event time to begin at, UTC.")],
    until: Annotated[datetime, typer.Option(help="Event time to end before, UTC.")],
    policy: Annotated[
        str, typer.Option(help="Id of one of the monitor's policies. Default: all of them.")
    ] = "",
    file: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="RetrainPolicy to try, YAML or JSON."),
    ] = None,
    episode_days: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            help="Days that an episode is assumed to last which did not really happen. "
            "Default: the median of those that did.",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Decide again on what was judged in a span of the past, by other policies; nothing changes."""
    if policy and file is not None:
        raise UsageFault("Say which policy to try: --policy or --file, one of them.")
    session = session_of(context)
    request = DryRunRetrainingRequest(parent=names.full(session.project, "monitors", monitor))
    request.start_time.FromDatetime(since)
    request.end_time.FromDatetime(until)
    if episode_days is not None:
        request.episode_duration.FromTimedelta(timedelta(days=episode_days))
    if file is not None:
        request.retrain_policy.CopyFrom(read_document(file, RetrainPolicy()))
    with session.client() as client:
        if policy:
            name = f"{request.parent}/retrainPolicies/{policy}"
            kept = client.retraining.GetRetrainPolicy(GetRetrainPolicyRequest(name=name))
            request.retrain_policy.CopyFrom(_unnamed(kept))
        told = list(client.retraining.DryRunRetraining(request))
    decisions = [each.decision for each in told if each.HasField("decision")]
    summary = told[-1].summary
    if as_json:
        print_json(
            {"decisions": [as_dict(each) for each in decisions], "summary": as_dict(summary)}
        )
    else:
        _print_decisions(decisions)
        _print_summary(summary)


def _unnamed(policy: RetrainPolicy) -> RetrainPolicy:
    policy.ClearField("name")
    policy.ClearField("uid")
    policy.ClearField("etag")
    policy.ClearField("create_time")
    policy.ClearField("update_time")
    return policy


def _print_decisions(decisions: list[_Decision]) -> None:
    print_table(
        ("event time", "decision", "reason", "episode", "cost", "why"),
        [
            (
                day(each.decision.event_time),
                state_name(RetrainDecision.Kind.Name(each.decision.kind)).lower(),
                each.decision.reason + (" *" if each.hypothetical else ""),
                _episode(each),
                _cost(each),
                each.decision.explanation,
            )
            for each in decisions
        ],
        title="Would have been decided",
    )
    if any(each.hypothetical for each in decisions):
        OUT.print(
            "* Another version would have served by then: drift and quality are of the one that "
            "really did."
        )


def _episode(told: _Decision) -> str:
    if not told.HasField("episode"):
        return ""
    episode = told.episode
    until = day(episode.end_time) if episode.HasField("end_time") else "now"
    return f"{'as it was' if episode.episode else 'assumed'}, until {until}"


def _cost(told: _Decision) -> str:
    if not told.HasField("episode"):
        return ""
    return shown(told.episode.cost) if told.episode.HasField("cost") else "not known"


def _print_summary(summary: _Summary) -> None:
    OUT.print(
        f"{summary.windows:,} windows: {summary.episodes:,} episodes ({summary.real_episodes:,} "
        f"really started), {_declined(summary)} declined, {_costs(summary.costs)}.",
        highlight=False,
    )
    if summary.episodes_without_cost:
        OUT.print(f"The cost of {summary.episodes_without_cost:,} episodes is not known.")
    for note in summary.notes:
        OUT.print(note, highlight=False)
    if summary.windows_without_evidence:
        OUT.print(
            f"{summary.windows_without_evidence:,} windows were judged before evidence was kept "
            "and are left out."
        )


def _declined(summary: _Summary) -> str:
    counts = ", ".join(f"{reason} {count:,}" for reason, count in sorted(summary.declined.items()))
    total = sum(summary.declined.values())
    return f"{total:,} ({counts})" if counts else "none"


def _costs(costs: Iterable[Money]) -> str:
    return " and ".join(shown(cost) for cost in costs) or "no cost known"
