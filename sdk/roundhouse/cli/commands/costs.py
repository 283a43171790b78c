"""`roundhouse costs`: what training costs, and what it may cost."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer
from google.type.money_pb2 import Money
from roundhouse.cli import names
from roundhouse.cli.failures import UsageFault
from roundhouse.cli.money import parse_money, shown
from roundhouse.cli.output import OUT, as_dict, print_json, print_table
from roundhouse.cli.paging import every
from roundhouse.cli.session import Json, session_of
from roundhouse.trainer.v1.cost_service_pb2 import (
    GetPriceTableRequest,
    ListOwnerBudgetsRequest,
    QueryCostsRequest,
    SetJobBudgetRequest,
    SetOwnerBudgetRequest,
)

app = typer.Typer(help="See and limit what training costs.", no_args_is_help=True)


class By(StrEnum):
    """What one line is about."""

    JOB = "job"
    ATTEMPT = "attempt"
    MODEL = "model"
    OWNER = "owner"
    MONTH = "month"


@app.command()
def show(
    context: typer.Context,
    by: Annotated[By, typer.Option(help="What one line is about.")] = By.JOB,
    job: Annotated[str, typer.Option(help="Count this job alone.")] = "",
    model: Annotated[str, typer.Option(help="Count this model alone.")] = "",
    owner: Annotated[str, typer.Option(help="Count this owner alone.")] = "",
    month: Annotated[str, typer.Option(help="Count this month alone, such as 2026-11.")] = "",
    as_json: Json = False,
) -> None:
    """Sum what was charged, largest first."""
    session = session_of(context)
    request = QueryCostsRequest(
        parent=names.parent(session.project),
        group_by=QueryCostsRequest.GroupBy.Value(f"GROUP_BY_{by.name}"),
        training_job=names.full(session.project, "trainingJobs", job) if job else "",
        model=names.full(session.project, "models", model) if model else "",
        owner=owner,
        month=month,
    )
    with session.client() as client:
        answer = client.costs.QueryCosts(request)
    if as_json:
        print_json(as_dict(answer))
        return
    print_table(
        (by.value, "seconds", "cost"),
        [
            (names.short(line.group), line.charged.seconds, shown(line.cost))
            for line in answer.lines
        ],
        title=f"Costs by {by.value}, {shown(answer.total)} in all",
    )


@app.command()
def prices(context: typer.Context, as_json: Json = False) -> None:
    """Print what a second of a core and of a GiB costs."""
    with session_of(context).client() as client:
        table = client.costs.GetPriceTable(GetPriceTableRequest())
    if as_json:
        print_json(as_dict(table))
        return
    print_table(
        ("a second of", "price"),
        [
            ("a core", shown(table.cpu_core_second)),
            ("a GiB of memory", shown(table.memory_gib_second)),
        ],
        title=f"Prices {table.version}",
    )


@app.command()
def budgets(context: typer.Context, as_json: Json = False) -> None:
    """List owners that have a monthly budget, and what this month has cost."""
    session = session_of(context)
    request = ListOwnerBudgetsRequest(parent=names.parent(session.project))
    with session.client() as client:
        found = list(every(client.costs.ListOwnerBudgets, request, "owner_budgets"))
    if as_json:
        print_json([as_dict(budget) for budget in found])
        return
    print_table(
        ("owner", "a month", "spent this month"),
        [(budget.owner, shown(budget.monthly), shown(budget.spent)) for budget in found],
        title="Budgets",
    )


@app.command("set-budget")
def set_budget(
    context: typer.Context,
    amount: Annotated[str, typer.Argument(help="Such as '12.50 USD', or 'none'.")],
    job: Annotated[str, typer.Option(help="Job that may cost so much in all.")] = "",
    owner: Annotated[str, typer.Option(help="Owner whose jobs may cost so much a month.")] = "",
    as_json: Json = False,
) -> None:
    """Limit what a job, or an owner's jobs in a month, may cost."""
    if bool(job) == bool(owner):
        raise UsageFault("Say whose budget it is: --job or --owner, one of them.")
    session = session_of(context)
    limit: Money | None = None if amount == "none" else parse_money(amount)
    with session.client() as client:
        if job:
            name = names.full(session.project, "trainingJobs", job)
            changed = as_dict(
                client.costs.SetJobBudget(SetJobBudgetRequest(name=name, budget=limit))
            )
        else:
            request = SetOwnerBudgetRequest(
                parent=names.parent(session.project), owner=owner, monthly=limit
            )
            changed = as_dict(client.costs.SetOwnerBudget(request))
    if as_json:
        print_json(changed)
    else:
        OUT.print(f"The budget of {job or owner} is {amount} now.")
