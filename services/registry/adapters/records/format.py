"""Records: objects of the blob store with the changes of one or more transactions.

    {"sha256": HEX, "transactions": [{"sequence": 17, "time": "...", "changes": [...]}, ...]}

A record stands under the number of its first transaction. It is written only when all
before it are there, so records have no gap unless the store lost one. Two replicas may
write transactions twice, in records that overlap; they are the same ones.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from services.registry.adapters.database.journal import Change


class UnreadableRecord(Exception):
    """A record isn't what was written; says how."""


@dataclass(frozen=True, slots=True)
class Transaction:
    """The changes that were made together.

    Attributes:
        sequence: 1, 2, … in the order of commits, without gaps.
        time: When, ISO 8601.
    """

    sequence: int
    time: str
    changes: Sequence[Change]


def write_record(transactions: Sequence[Transaction]) -> bytes:
    """The record of successive transactions."""
    content = [
        {"sequence": each.sequence, "time": each.time, "changes": each.changes}
        for each in transactions
    ]
    return json.dumps(
        {"sha256": _digest(content), "transactions": content},
        separators=(",", ":"),
        ensure_ascii=False,
    ).encode()


def read_record(data: bytes, *, first: int) -> list[Transaction]:
    """The transactions of a record.

    Args:
        data: The object's bytes.
        first: Number that it stands under.

    Raises:
        UnreadableRecord: It was damaged, or is another one.
    """
    try:
        document = json.loads(data)
        content = document["transactions"]
        if _digest(content) != document["sha256"]:
            raise UnreadableRecord("its bytes were changed")
        found = [Transaction(**each) for each in content]
    except (ValueError, KeyError, TypeError) as error:
        raise UnreadableRecord(f"it can't be read: {error}") from error
    numbers = [each.sequence for each in found]
    if not numbers or numbers != list(range(first, first + len(numbers))):
        raise UnreadableRecord(f"it has the transactions {numbers[:3]}… of another record")
    return found


def _digest(content: Any) -> str:
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()
