"""`roundhouse retrains explain`: what was decided about retraining, why, and what holds it now."""

from __future__ import annotations

from itertools import islice
from typing import Annotated

import typer
from roundhouse.cli import names
from roundhouse.cli.output import ERR, OUT, as_dict, day, print_json, print_table, state_name
from roundhouse.cli.paging import every
from roundhouse.cli.session import Json, session_of
from roundhouse.client import Client
from roundhouse.client.errors import Unavailable
from roundhouse.monitor.v1.monitor_pb2 import RetrainDecision
from roundhouse.monitor.v1.retrain_service_pb2 import ListRetrainDecisionsRequest
from roundhouse.monitor.v1.slo_pb2 import ErrorBudget
from roundhouse.monitor.v1.slo_service_pb2 import GetErrorBudgetRequest, ListSlosRequest


def explain(
    context: typer.Context,
    monitor: Annotated[str, typer.Argument(help="Monitor's id or resource name.")],
    limit: Annotated[int, typer.Option(min=1, help="Decisions, the newest first.")] = 10,
    as_json: Json = False,
) -> None:
    """Show the newest decisions with their numbers, and what budget policies order at present."""
    session = session_of(context)
    name = names.full(session.project, "monitors", monitor)
    request = ListRetrainDecisionsRequest(parent=name, page_size=min(limit, 1000))
    with session.client() as client:
        listed = every(client.retraining.ListRetrainDecisions, request, "retrain_decisions")
        decisions = list(islice(listed, limit))
        orders = _orders(client, name)
    if as_json:
        print_json(
            {
                "decisions": [as_dict(each) for each in decisions],
                "restraints": [as_dict(each) for each in orders],
            }
        )
        return
    for order in orders:
        OUT.print(order.reason, highlight=False)
    print_table(
        ("event time", "decision", "reason", "why", "numbers"),
        [
            (
                day(each.event_time),
                state_name(RetrainDecision.Kind.Name(each.kind)).lower(),
                each.reason,
                each.explanation,
                ", ".join(f"{key} {value:g}" for key, value in sorted(each.numbers.items())),
            )
            for each in decisions
        ],
        title=f"Decided about {monitor}",
    )


def _orders(client: Client, monitor: str) -> list[ErrorBudget.Restraint]:
    """Of the objectives that can be told; a trainer that is away hides those about jobs."""
    found: list[ErrorBudget.Restraint] = []
    for slo in every(client.slos.ListSlos, ListSlosRequest(parent=monitor), "slos"):
        try:
            budget = client.slos.GetErrorBudget(GetErrorBudgetRequest(name=slo.name), timeout=5.0)
        except Unavailable as error:
            ERR.print(f"{names.last(slo.name)} can't be told: {error}", highlight=False)
        else:
            found += budget.restraints
    return found
