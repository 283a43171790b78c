"""The items of collection plans."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Row, select

from services.registry.adapters.database.tables import COLLECTION_ITEM
from services.registry.core.retention.plans import Item, ItemKind, ItemState
from services.registry.core.retention.reachability import Root, RootKind

_UNSETTLED = (ItemState.PENDING.value, ItemState.CONDEMNED.value)


class SqlPlanItems:
    """`PlanItems` on SQLite and PostgreSQL.

    Args:
        connection: The transaction.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add(self, plan: str, items: Sequence[Item]) -> None:
        """See `PlanItems`."""
        if items:
            self._connection.execute(
                COLLECTION_ITEM.insert(), [{"plan": plan, **_row(item)} for item in items]
            )

    def unsettled(self, plan: str) -> Item | None:
        """See `PlanItems`."""
        row = self._connection.execute(
            select(COLLECTION_ITEM)
            .where(COLLECTION_ITEM.c.plan == plan, COLLECTION_ITEM.c.state.in_(_UNSETTLED))
            .order_by(COLLECTION_ITEM.c.position)
            .limit(1)
        ).one_or_none()
        return None if row is None else item_from_row(row)

    def settle(self, plan: str, item: Item) -> None:
        """See `PlanItems`."""
        self._connection.execute(
            COLLECTION_ITEM.update()
            .where(COLLECTION_ITEM.c.plan == plan, COLLECTION_ITEM.c.position == item.position)
            .values(_row(item))
        )


def item_from_row(row: Row[Any]) -> Item:
    """The item that a row has."""
    return Item(
        position=row.position,
        kind=ItemKind(row.kind),
        subject=row.subject,
        size_bytes=row.size_bytes,
        state=ItemState(row.state),
        detail=row.detail,
        handle=row.handle,
        root=Root(RootKind(row.root_kind), row.root) if row.root_kind else None,
        settle_time=row.settle_time,
    )


def _row(item: Item) -> dict[str, object]:
    return {
        "position": item.position,
        "kind": item.kind.value,
        "subject": item.subject,
        "size_bytes": item.size_bytes,
        "state": item.state.value,
        "detail": item.detail,
        "handle": item.handle,
        "root_kind": item.root.kind.value if item.root else "",
        "root": item.root.name if item.root else "",
        "settle_time": item.settle_time,
    }
