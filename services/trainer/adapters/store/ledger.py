"""What was charged, summed, and the budgets that hold against it."""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, String, cast, func, select

from services.common.resources import Page, PageQuery
from services.common.store.listing import Listing, ListQuery
from services.trainer.adapters.store.tables import CHARGE, OWNER_BUDGET
from services.trainer.core.costs import CostLine, CostQuery, CostReport, Grouping, OwnerBudget

MAX_LINES: Final = 1000

BUDGETS: Final = Listing(
    fields={"owner": OWNER_BUDGET.c.owner},
    key=OWNER_BUDGET.c.owner,
    default_order="owner",
    orderable=("owner",),
)

_GROUPS: Final[dict[Grouping, ColumnElement[str]]] = {
    Grouping.JOB: CHARGE.c.job,
    Grouping.ATTEMPT: CHARGE.c.job + "/attempts/" + cast(CHARGE.c.attempt, String),
    Grouping.MODEL: CHARGE.c.model,
    Grouping.OWNER: CHARGE.c.owner,
    Grouping.MONTH: CHARGE.c.month,
}


def costs(connection: Connection, query: CostQuery) -> CostReport:
    """What was charged, by group, largest first."""
    wanted = [CHARGE.c.project == query.project]
    for column, value in (
        (CHARGE.c.job, query.job),
        (CHARGE.c.model, query.model),
        (CHARGE.c.owner, query.owner),
        (CHARGE.c.month, query.month),
    ):
        if value:
            wanted.append(column == value)
    if query.start is not None:
        wanted.append(CHARGE.c.start_time >= query.start)
    if query.end is not None:
        wanted.append(CHARGE.c.start_time < query.end)
    group, amount = _GROUPS[query.grouping], func.sum(CHARGE.c.amount_micros)
    lines = (
        select(group, amount, func.sum(CHARGE.c.seconds))
        .where(*wanted)
        .group_by(group)
        .order_by(amount.desc(), group)
        .limit(MAX_LINES)
    )
    total = select(func.coalesce(amount, 0)).where(*wanted)
    return CostReport(
        tuple(CostLine(*_whole(row)) for row in connection.execute(lines)),
        int(connection.execute(total).scalar_one()),
    )


def owner_budgets(connection: Connection, query: PageQuery, month: str) -> Page[OwnerBudget]:
    """A project's budgets by owner, with what they have spent in `month`."""
    spent = (
        select(func.coalesce(func.sum(CHARGE.c.amount_micros), 0))
        .where(
            CHARGE.c.project == OWNER_BUDGET.c.project,
            CHARGE.c.owner == OWNER_BUDGET.c.owner,
            CHARGE.c.month == month,
        )
        .scalar_subquery()
    )
    found = select(OWNER_BUDGET, spent.label("spent_micros")).where(
        OWNER_BUDGET.c.project == query.parent
    )
    asked = ListQuery(query.page_size, query.page_token, query.filter, query.order_by)
    page = BUDGETS.page(connection, found, asked, scope=query.parent)
    budgets = tuple(
        OwnerBudget(row.owner, row.monthly_micros, int(row.spent_micros), row.update_time)
        for row in page.rows
    )
    return Page(budgets, page.next_page_token)


def _whole(row: Any) -> tuple[str, int, int]:  # sums are decimals on PostgreSQL
    return str(row[0]), int(row[1]), int(row[2])
