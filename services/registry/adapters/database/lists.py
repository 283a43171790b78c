"""Pages of each kind of resource."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final, TypeVar

from sqlalchemy import Column, Connection, Row, Select, Table, case, select

from services.common.resources import Page, PageQuery
from services.common.store.listing import Listing, ListQuery
from services.common.store.tables import WEBHOOK_DELIVERY
from services.common.webhooks import journal
from services.registry.adapters.database.documents import (
    ALIASES,
    APPROVALS,
    DATASETS,
    EVALUATIONS,
    GATE_RESULTS,
    HOLDS,
    MODELS,
    PINS,
    PLANS,
    SNAPSHOTS,
    VERSIONS,
    WEBHOOKS,
)
from services.registry.adapters.database.ledger import touch_from_row
from services.registry.adapters.database.plan_items import item_from_row
from services.registry.adapters.database.tables import (
    ALIAS_MOVE,
    APPROVAL,
    COLLECTION_ITEM,
    TOUCH,
)
from services.registry.adapters.database.webhooks import delivery_of
from services.registry.core.aliases import Alias, AliasMove
from services.registry.core.approvals import Approval, ApprovalState
from services.registry.core.evaluations import Evaluation
from services.registry.core.gates import GateResult
from services.registry.core.ledger import Touch
from services.registry.core.models import Model
from services.registry.core.retention.holds import Hold
from services.registry.core.retention.pins import Pin
from services.registry.core.retention.plans import CollectionPlan, Item
from services.registry.core.snapshots import Dataset, DatasetSnapshot
from services.registry.core.versions import ModelVersion
from services.registry.core.webhooks import Webhook, WebhookDelivery

T = TypeVar("T")

_ANY_VERSION: Final = "/versions/-"


class SqlRegistryLists:
    """`RegistryLists` on SQLite and PostgreSQL.

    Args:
        connection: The transaction.
        now: The moment for which states are told.
    """

    def __init__(self, connection: Connection, now: datetime) -> None:
        self._connection = connection
        self._now = now

    def datasets(self, query: PageQuery) -> Page[Dataset]:
        """See `RegistryLists`."""
        listing = _listing(
            DATASETS.table,
            filterable=("name", "create_time", "update_time", "labels"),
            orderable=("name", "create_time", "update_time"),
        )
        return self._page(DATASETS.table, listing, query, DATASETS.from_row)

    def snapshots(self, query: PageQuery) -> Page[DatasetSnapshot]:
        """See `RegistryLists`."""
        listing = _listing(
            SNAPSHOTS.table,
            filterable=(
                *("name", "state", "digest", "create_time", "update_time"),
                *("start_time", "end_time", "labels"),
            ),
            orderable=("create_time", "name", "update_time"),
        )
        return self._page(SNAPSHOTS.table, listing, query, SNAPSHOTS.from_row)

    def models(self, query: PageQuery) -> Page[Model]:
        """See `RegistryLists`."""
        listing = _listing(
            MODELS.table,
            filterable=("name", "create_time", "update_time", "labels"),
            orderable=("name", "create_time", "update_time"),
        )
        return self._page(MODELS.table, listing, query, MODELS.from_row)

    def versions(self, query: PageQuery) -> Page[ModelVersion]:
        """See `RegistryLists`."""
        listing = _listing(
            VERSIONS.table,
            filterable=(
                *("name", "state", "digest", "training_job"),
                *("create_time", "update_time", "labels"),
            ),
            orderable=("create_time", "name", "update_time"),
        )
        return self._page(VERSIONS.table, listing, query, VERSIONS.from_row)

    def aliases(self, query: PageQuery) -> Page[Alias]:
        """See `RegistryLists`."""
        listing = _listing(ALIASES.table, filterable=("name",), orderable=("name",))
        return self._page(ALIASES.table, listing, query, ALIASES.from_row)

    def alias_moves(self, query: PageQuery) -> Page[AliasMove]:
        """See `RegistryLists`."""
        fields = ("alias", "actor", "from_version", "to_version")
        listing = _newest_first(ALIAS_MOVE.c, fields, time="time")
        rows = select(ALIAS_MOVE).where(ALIAS_MOVE.c.model == query.parent)
        return self._run(rows, listing, query, _move_from_row)

    def touches(self, query: PageQuery) -> Page[Touch]:
        """See `RegistryLists`."""
        fields = (
            *("snapshot", "data_digest", "split", "split_digest"),
            *("purpose", "version", "training_job"),
        )
        listing = _newest_first(TOUCH.c, fields, time="time")
        rows = select(TOUCH).where(TOUCH.c.project == query.parent)
        return self._run(rows, listing, query, touch_from_row)

    def evaluations(self, query: PageQuery) -> Page[Evaluation]:
        """See `RegistryLists`."""
        table = EVALUATIONS.table
        listing = _newest_first(table.c, ("snapshot", "split", "split_digest", "purpose"))
        return self._page(table, listing, query, EVALUATIONS.from_row)

    def gate_results(self, query: PageQuery) -> Page[GateResult]:
        """See `RegistryLists`."""
        table = GATE_RESULTS.table
        listing = _newest_first(table.c, ("evaluation",))
        return self._page(table, listing, query, GATE_RESULTS.from_row)

    def approvals(self, query: PageQuery) -> Page[Approval]:
        """See `RegistryLists`."""
        over = (APPROVAL.c.decided != ApprovalState.REJECTED.value) & (
            APPROVAL.c.expire_time <= self._now
        )
        state = case((over, ApprovalState.EXPIRED.value), else_=APPROVAL.c.decided)
        approvals = select(APPROVAL, state.label("state")).subquery()
        listing = _newest_first(approvals.c, ("state", "requester", "approver", "expire_time"))
        if query.parent.endswith(_ANY_VERSION):
            within = approvals.c.model == query.parent.removesuffix(_ANY_VERSION)
        else:
            within = approvals.c.parent == query.parent
        return self._run(select(approvals).where(within), listing, query, APPROVALS.from_row)

    def webhooks(self, query: PageQuery) -> Page[Webhook]:
        """See `RegistryLists`."""
        listing = _listing(WEBHOOKS.table, filterable=("name",), orderable=("name",))
        return self._page(WEBHOOKS.table, listing, query, WEBHOOKS.from_row)

    def webhook_deliveries(self, webhook: Webhook, query: PageQuery) -> Page[WebhookDelivery]:
        """See `RegistryLists`."""
        listing = _newest_first(WEBHOOK_DELIVERY.c, ("state", "event_type", "subject"))
        rows = select(WEBHOOK_DELIVERY).where(WEBHOOK_DELIVERY.c.subscription == webhook.meta.uid)
        name = webhook.meta.name
        return self._run(
            rows, listing, query, lambda row: delivery_of(name, journal.delivery_of(row))
        )

    def pins(self, query: PageQuery) -> Page[Pin]:
        """See `RegistryLists`."""
        listing = _listing(
            PINS.table,
            filterable=("name", "target", "holder", "create_time", "update_time"),
            orderable=("name",),
        )
        return self._page(PINS.table, listing, query, PINS.from_row)

    def holds(self, query: PageQuery) -> Page[Hold]:
        """See `RegistryLists`."""
        listing = _newest_first(HOLDS.table.c, ("target", "kind", "state"))
        return self._page(HOLDS.table, listing, query, HOLDS.from_row)

    def plans(self, query: PageQuery) -> Page[CollectionPlan]:
        """See `RegistryLists`."""
        return self._page(PLANS.table, _newest_first(PLANS.table.c, ()), query, PLANS.from_row)

    def plan_items(self, query: PageQuery) -> Page[Item]:
        """See `RegistryLists`."""
        columns = COLLECTION_ITEM.c
        fields = {name: columns[name] for name in ("kind", "state", "subject", "position")}
        listing = Listing(fields, columns.seq, default_order="position", orderable=("position",))
        rows = select(COLLECTION_ITEM).where(columns.plan == query.parent)
        return self._run(rows, listing, query, item_from_row)

    def _page(
        self, table: Table, listing: Listing, query: PageQuery, convert: Callable[[Row[Any]], T]
    ) -> Page[T]:
        return self._run(
            select(table).where(table.c.parent == query.parent), listing, query, convert
        )

    def _run(
        self,
        rows: Select[Any],
        listing: Listing,
        query: PageQuery,
        convert: Callable[[Row[Any]], T],
    ) -> Page[T]:
        asked = ListQuery(query.page_size, query.page_token, query.filter, query.order_by)
        page = listing.page(self._connection, rows, asked, scope=query.parent)
        return Page(tuple(convert(row) for row in page.rows), page.next_page_token)


def _listing(table: Table, *, filterable: tuple[str, ...], orderable: tuple[str, ...]) -> Listing:
    fields: Mapping[str, Column[Any]] = {name: table.c[name] for name in filterable}
    return Listing(fields, table.c.seq, default_order=orderable[0], orderable=orderable)


def _newest_first(
    columns: Any, filterable: tuple[str, ...], *, time: str = "create_time"
) -> Listing:
    fields = {name: columns[name] for name in (*filterable, time)}
    return Listing(fields, columns.seq, default_order=f"{time} desc", orderable=(time,))


def _move_from_row(row: Row[Any]) -> AliasMove:
    return AliasMove(
        alias=row.alias,
        from_version=row.from_version,
        to_version=row.to_version,
        actor=row.actor,
        reason=row.reason,
        time=row.time,
        approval=row.approval,
    )
