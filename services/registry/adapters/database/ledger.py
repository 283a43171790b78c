"""The ledger of test sets as rows."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from sqlalchemy import Connection, Row, select

from services.registry.adapters.database.journal import Journal
from services.registry.adapters.database.tables import TOUCH
from services.registry.core.evaluations import Purpose
from services.registry.core.ledger import Touch
from services.registry.core.names import VERSION


def add_touch(connection: Connection, touch: Touch, journal: Journal) -> None:
    """Append a touch."""
    row = {
        **asdict(touch),
        "project": f"projects/{VERSION.parse(touch.version)['project']}",
        "purpose": touch.purpose.value,
        "lineage": list(touch.lineage),
    }
    connection.execute(TOUCH.insert().values(row))
    journal.insert(TOUCH, row)


def touches_of(connection: Connection, data_digest: str, split_digest: str) -> list[Touch]:
    """Every look at these rows, oldest first."""
    rows = connection.execute(
        select(TOUCH)
        .where(TOUCH.c.data_digest == data_digest, TOUCH.c.split_digest == split_digest)
        .order_by(TOUCH.c.seq)
    )
    return [touch_from_row(row) for row in rows]


def touch_from_row(row: Row[Any]) -> Touch:
    """The touch that `add_touch` stored."""
    return Touch(
        snapshot=row.snapshot,
        data_digest=row.data_digest,
        split=row.split,
        split_digest=row.split_digest,
        purpose=Purpose(row.purpose),
        version=row.version,
        training_job=row.training_job,
        lineage=tuple(row.lineage),
        evaluation=row.evaluation,
        evaluator=row.evaluator,
        time=row.time,
    )
