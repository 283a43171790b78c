"""A table with a row for each label of each resource of a kind, to find few among many by."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Column, ColumnElement, Select, String, Table

DIGEST_LENGTH: Final = 32


def label_digest(key: str, value: str) -> str:
    """What a label is found by: labels are of any length, what an index holds is not."""
    return hashlib.sha256(json.dumps([key, value]).encode()).hexdigest()[:DIGEST_LENGTH]


def label_columns(*copies: Column[Any]) -> list[Column[Any]]:
    """The columns of such a table, fresh ones each time; for migrations too.

    Args:
        *copies: Of the columns of the resource that lists are ordered by, its key among them as
            a primary key here too.
    """
    return [
        Column("label", String(DIGEST_LENGTH), primary_key=True),
        Column("parent", String(128), nullable=False),
        *copies,
    ]


@dataclass(frozen=True, slots=True)
class LabelIndex:
    """Where a list finds the rows that have one label, in its order.

    Attributes:
        table: Of `label_columns`.
        key: The listed table's key, of which `table` has a copy of the same name.
    """

    table: Table
    key: Column[Any]

    def narrowed(self, rows: Select[Any], parent: str, label: tuple[str, str]) -> Select[Any]:
        """Those of `rows` under `parent` that have `label`, and what else has its digest."""
        columns = self.table.c
        return rows.join(self.table, columns[self.key.name] == self.key).where(
            columns.parent == parent, columns.label == label_digest(*label)
        )

    def copy_of(self, column: ColumnElement[Any]) -> ColumnElement[Any]:
        """The column to order by: the copy, with which an index begins, or `column` itself."""
        name = getattr(column, "name", "")
        return self.table.c.get(name, column)


def label_values(
    parent: str, labels: Mapping[str, str], copies: Mapping[str, object]
) -> list[dict[str, object]]:
    """The rows of one resource.

    Args:
        parent: That it is under.
        labels: That it has.
        copies: What it has in the columns that are copied.
    """
    return [
        {"label": label_digest(key, value), "parent": parent, **copies}
        for key, value in labels.items()
    ]
