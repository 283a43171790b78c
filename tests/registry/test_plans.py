"""How SQLite goes about each list: by an index, and without a sort."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, event

from services.common.resources import PageQuery
from services.common.store.database import Database
from services.common.store.migrations import migrate
from services.registry.adapters.database.lists import SqlRegistryLists
from services.registry.adapters.database.transaction import SqlRegistryTx
from services.registry.core.aliases import AliasMove
from services.registry.wiring import MIGRATIONS
from tests.support.registry_memory import EPOCH
from tests.support.registry_values import (
    DATASET,
    MODEL,
    create_model,
    ready_version,
    sealed_snapshot,
)

PROJECT = "projects/default"
VERSION = f"{MODEL}/versions/1"
LISTS = [
    *(("datasets", PROJECT, order) for order in ("name", "create_time desc", "update_time")),
    *(("models", PROJECT, order) for order in ("name", "create_time desc", "update_time")),
    *(("snapshots", DATASET, order) for order in ("name", "create_time desc", "update_time")),
    *(("versions", MODEL, order) for order in ("name", "create_time desc", "update_time")),
    ("aliases", MODEL, ""),
    ("alias_moves", MODEL, ""),
]
FILTERS = [
    ("versions", MODEL, "state = READY"),
    ("versions", MODEL, f'digest = "sha256:{"0" * 64}"'),
    ("versions", MODEL, f'training_job = "{PROJECT}/trainingJobs/first"'),
    ("versions", MODEL, "labels.team = red"),
    ("versions", MODEL, "state = READY AND labels.team = red"),
    ("snapshots", DATASET, "state = SEALED"),
    ("alias_moves", MODEL, f'alias = "{MODEL}/aliases/shadow"'),
]


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    opened = Database(f"sqlite:///{tmp_path}/registry.db")
    await migrate(opened, MIGRATIONS)
    opened.write_now(fill)
    yield opened
    opened.close()


def fill(connection: Connection) -> None:
    tx = SqlRegistryTx(connection, EPOCH)
    create_model(tx)
    sealed_snapshot(tx)
    for _ in range(3):
        ready_version(tx)
    tx.record_move(AliasMove(f"{MODEL}/aliases/shadow", "", VERSION, "ann", "test", EPOCH, ""))
    tx.finish()


def plans(database: Database, work: Callable[[Connection], object]) -> list[str]:
    """The steps of every query of `work`."""
    asked: list[tuple[str, Any]] = []

    def note(_c: object, _cursor: object, statement: str, parameters: Any, *_: object) -> None:
        asked.append((statement, parameters))

    def watched(connection: Connection) -> list[str]:
        event.listen(connection, "before_cursor_execute", note)
        work(connection)
        event.remove(connection, "before_cursor_execute", note)
        return [
            str(step.detail)
            for statement, parameters in asked
            for step in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)
        ]

    steps = database.read_now(watched)
    assert steps
    return steps


def listed(database: Database, kind: str, query: PageQuery) -> list[str]:
    return plans(
        database, lambda connection: getattr(SqlRegistryLists(connection, EPOCH), kind)(query)
    )


@pytest.mark.parametrize(("kind", "parent", "order"), LISTS)
def test_a_page_is_read_off_an_index(
    database: Database, kind: str, parent: str, order: str
) -> None:
    (step,) = listed(database, kind, PageQuery(parent, 2, "", "", order))
    assert step.startswith("SEARCH")
    assert "USING INDEX" in step


@pytest.mark.parametrize(("kind", "parent", "filter_"), FILTERS)
def test_a_filter_is_answered_from_an_index(
    database: Database, kind: str, parent: str, filter_: str
) -> None:
    (step,) = listed(database, kind, PageQuery(parent, 2, "", filter_, ""))
    assert step.startswith("SEARCH")
    column = filter_.split()[0]
    if not column.startswith("labels"):
        assert f"{column}=?" in step


@pytest.mark.parametrize("order", ["create_time", "create_time desc"])
def test_a_later_page_begins_where_the_last_one_ended(database: Database, order: str) -> None:
    token = database.read_now(
        lambda connection: (
            SqlRegistryLists(connection, EPOCH)
            .versions(PageQuery(MODEL, 1, "", "", order))
            .next_page_token
        )
    )
    (step,) = listed(database, "versions", PageQuery(MODEL, 1, token, "", order))
    comparison = "<" if order.endswith("desc") else ">"
    assert f"create_time{comparison}?" in step


def test_what_a_version_needs_is_found_by_indexes(database: Database) -> None:
    def look(connection: Connection) -> None:
        tx = SqlRegistryTx(connection, EPOCH)
        tx.versions.get(VERSION)
        tx.aliases_at([VERSION])
        tx.verified_at([VERSION])

    for step in plans(database, look):
        assert step.startswith("SEARCH") or step == "USE TEMP B-TREE FOR ORDER BY"
