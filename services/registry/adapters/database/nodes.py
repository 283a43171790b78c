"""What is known of many resources at once: a query per kind, columns rather than documents."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, TypeAlias

from sqlalchemy import Column, Connection, select

from services.registry.adapters.database.lineage import in_parts
from services.registry.adapters.database.tables import (
    ALIAS,
    APPROVAL,
    EVALUATION,
    GATE_RESULT,
    SNAPSHOT,
    VERSION,
    WHEREABOUTS,
)
from services.registry.core import node_facts
from services.registry.core.approvals import ApprovalState
from services.registry.core.deployments import Whereabouts
from services.registry.core.lineage import Node, NodeKind, bare_node

_Row: TypeAlias = Any  # a row of whatever columns were asked for
_Reader: TypeAlias = tuple[Sequence[Column[Any]], Callable[[_Row, datetime], Node]]


def nodes(connection: Connection, names: Sequence[str], now: datetime) -> Sequence[Node]:
    """What is known of each of `names`, in their order.

    Args:
        connection: The transaction.
        names: Of resources, each once.
        now: The moment for which states are told.
    """
    found = {name: bare_node(name) for name in names}
    for kind, reader in _READERS.items():
        wanted = [name for name, node in found.items() if node.kind is kind]
        found.update((node.name, node) for node in _read(connection, reader, wanted, now))
    return list(found.values())


def _read(
    connection: Connection, reader: _Reader, names: Sequence[str], now: datetime
) -> Iterator[Node]:
    columns, convert = reader
    key = columns[0]
    for part in in_parts(names):
        for row in connection.execute(select(*columns).where(key.in_(part))):
            yield convert(row, now)


def _snapshot(row: _Row, _: datetime) -> Node:
    window = None if row.start_time is None else (row.start_time, row.end_time)
    return node_facts.snapshot_node(
        row.name, row.state, row.create_time, digest=row.digest, window=window
    )


def _version(row: _Row, _: datetime) -> Node:
    return node_facts.version_node(row.name, row.state, row.create_time, digest=row.digest)


def _evaluation(row: _Row, _: datetime) -> Node:
    return node_facts.evaluation_node(
        row.name, row.create_time, split=row.split, metrics=row.document["scores"]["metrics"]
    )


def _gate_result(row: _Row, _: datetime) -> Node:
    verdicts: Sequence[Mapping[str, Any]] = row.document["verdicts"]
    return node_facts.gate_result_node(
        row.name,
        row.create_time,
        passed=bool(row.passed),
        failures=[each["explanation"] for each in verdicts if not each["passed"]],
        rules=len(verdicts),
    )


def _approval(row: _Row, now: datetime) -> Node:
    state = ApprovalState(row.decided)
    if state is not ApprovalState.REJECTED and row.expire_time <= now:
        state = ApprovalState.EXPIRED
    return node_facts.approval_node(
        row.name, state, row.create_time, requester=row.requester, approver=row.approver
    )


def _alias(row: _Row, _: datetime) -> Node:
    return node_facts.alias_node(row.name, row.create_time, version=row.document["version"])


def _whereabouts(row: _Row, _: datetime) -> Node:
    return node_facts.whereabouts_node(Whereabouts(**row._mapping))  # noqa: SLF001 - public API


_HEAD: Final = ("name", "create_time")


def _columns(table: Any, *more: str) -> Sequence[Column[Any]]:
    return [table.c[name] for name in (*_HEAD, *more)]


_TOLD: Final[_Reader] = (
    _columns(WHEREABOUTS, "state", "version", "message", "time"),
    _whereabouts,
)
_READERS: Final[Mapping[NodeKind, _Reader]] = {
    NodeKind.SNAPSHOT: (
        _columns(SNAPSHOT, "state", "digest", "start_time", "end_time"),
        _snapshot,
    ),
    NodeKind.VERSION: (_columns(VERSION, "state", "digest"), _version),
    NodeKind.EVALUATION: (_columns(EVALUATION, "split", "document"), _evaluation),
    NodeKind.GATE_RESULT: (_columns(GATE_RESULT, "passed", "document"), _gate_result),
    NodeKind.APPROVAL: (
        _columns(APPROVAL, "decided", "requester", "approver", "expire_time"),
        _approval,
    ),
    NodeKind.ALIAS: (_columns(ALIAS, "document"), _alias),
    NodeKind.ROLLOUT: _TOLD,
    NodeKind.ENDPOINT: _TOLD,
}
