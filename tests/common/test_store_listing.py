"""Filters, orders and pages."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import JSON, Boolean, Column, Integer, MetaData, String, Table, select

from services.common.store.database import Database
from services.common.store.listing import (
    InvalidFilter,
    InvalidOrder,
    InvalidPageToken,
    Listing,
    ListQuery,
)
from services.common.store.types import UtcDateTime

METADATA = MetaData()
THING = Table(
    "thing",
    METADATA,
    Column("name", String(64), primary_key=True),
    Column("size", Integer, nullable=False),
    Column("ready", Boolean, nullable=False),
    Column("create_time", UtcDateTime, nullable=False),
    Column("labels", JSON, nullable=False),
)
LISTING = Listing(
    fields={column.name: column for column in THING.c},
    key=THING.c.name,
    default_order="name",
    orderable=("name", "size", "create_time"),
)
START = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    opened = Database(database_url)
    opened.write_now(METADATA.create_all)
    opened.write_now(fill)
    yield opened
    opened.close()


def fill(tx) -> None:
    for i in range(12):
        tx.execute(
            THING.insert().values(
                name=f"thing-{i:02}",
                size=i // 3,
                ready=i % 2 == 0,
                create_time=START + timedelta(hours=i),
                labels={"team": "red"} if i % 3 == 0 else {},
            )
        )


def names(database: Database, query: ListQuery) -> list[str]:
    page = database.read_now(lambda tx: LISTING.page(tx, select(THING), query, scope="x"))
    return [row.name for row in page.rows]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("size = 0", [0, 1, 2]),
        ("size=0 AND ready=true", [0, 2]),
        ("size = 0 OR size = 3 AND ready = false", [1, 9, 11]),
        ("NOT size < 3", [9, 10, 11]),
        ("-size < 3", [9, 10, 11]),
        ("(size = 1 OR size = 2) AND NOT ready = true", [3, 5, 7]),
        ("labels.team = red AND size >= 2", [6, 9]),
        ("labels.team:* AND size < 1", [0]),
        ('create_time > "2026-01-01T09:00:00Z"', [10, 11]),
        ("create_time >= 2026-01-01T11:00:00+01:00", [10, 11]),
        ('name:"-1"', [10, 11]),
        ("name : -1", [10, 11]),
        ("name:%", []),
    ],
)
def test_a_filter_means_what_the_aip_says(database: Database, text: str, wanted: list[int]) -> None:
    assert names(database, ListQuery(filter=text)) == [f"thing-{i:02}" for i in wanted]


@pytest.mark.parametrize(
    ("text", "position"),
    [
        ("size =", 7),
        ("colour = red", 1),
        ("ready = true AND size = big", 18),
        ("labels = x", 1),
        ("size.x = 1", 1),
        ("create_time > yesterday", 1),
        ("size = 1)", 9),
        ('name = "open', 8),
        ("'; DROP TABLE thing; --", 1),
    ],
)
def test_a_bad_filter_is_refused_where_it_goes_wrong(
    database: Database, text: str, position: int
) -> None:
    with pytest.raises(InvalidFilter) as caught:
        names(database, ListQuery(filter=text))
    assert caught.value.metadata == {"filter": text, "position": str(position)}


@pytest.mark.parametrize("order", ["ready", "size upwards", "size,,name", "size desc asc"])
def test_a_bad_order_is_refused(database: Database, order: str) -> None:
    with pytest.raises(InvalidOrder):
        names(database, ListQuery(order_by=order))


@pytest.mark.parametrize("order", ["", "size desc", "size, name desc", "create_time desc"])
@pytest.mark.parametrize("size", [1, 5, 12, 5000])
def test_pages_put_together_are_the_list(database: Database, order: str, size: int) -> None:
    def page(token: str):
        query = ListQuery(page_size=size, page_token=token, order_by=order)
        return database.read_now(lambda tx: LISTING.page(tx, select(THING), query, scope="x"))

    pages = [page("")]
    while pages[-1].next_page_token:
        pages.append(page(pages[-1].next_page_token))
    together = [row.name for p in pages for row in p.rows]
    assert together == names(database, ListQuery(order_by=order))
    assert len(together) == 12


def test_a_row_added_while_paging_shifts_nothing(database: Database) -> None:
    first = database.read_now(
        lambda tx: LISTING.page(tx, select(THING), ListQuery(page_size=4), scope="x")
    )
    row = {"name": "thing-00b", "size": 0, "ready": True, "create_time": START, "labels": {}}
    database.write_now(lambda tx: tx.execute(THING.insert().values(**row)))
    rest = names(database, ListQuery(page_size=100, page_token=first.next_page_token))
    assert rest == [f"thing-{i:02}" for i in range(4, 12)]


@pytest.mark.parametrize("change", ["filter", "order_by", "scope", "damage"])
def test_a_token_of_another_query_is_refused(database: Database, change: str) -> None:
    first = database.read_now(
        lambda tx: LISTING.page(tx, select(THING), ListQuery(page_size=4), scope="x")
    )
    query = {
        "filter": ListQuery(page_token=first.next_page_token, filter="size = 1"),
        "order_by": ListQuery(page_token=first.next_page_token, order_by="size"),
        "scope": ListQuery(page_token=first.next_page_token),
        "damage": ListQuery(page_token=first.next_page_token[:-8]),
    }[change]
    scope = "y" if change == "scope" else "x"
    with pytest.raises(InvalidPageToken):
        database.read_now(lambda tx: LISTING.page(tx, select(THING), query, scope=scope))


@given(st.text(max_size=60))
@settings(max_examples=150, deadline=None)
def test_any_text_is_a_filter_or_is_refused_as_one(text: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        database = Database(f"sqlite:///{folder}/x.db")
        try:
            database.write_now(METADATA.create_all)
            with contextlib.suppress(InvalidFilter):
                assert set(names(database, ListQuery(filter=text))) == set()
        finally:
            database.close()
