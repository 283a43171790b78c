"""What the lineage tells of each kind of resource in one line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final

from services.registry.core.approvals import ApprovalState
from services.registry.core.deployments import Whereabouts
from services.registry.core.lineage import Node, NodeKind, kind_of

_DIGEST_LENGTH: Final = len("sha256:") + 12
_TOLD_METRICS: Final = 4


def snapshot_node(
    name: str,
    state: str,
    time: datetime,
    *,
    digest: str,
    window: tuple[datetime, datetime] | None,
) -> Node:
    """A snapshot: its digest, and the days that it covers."""
    days = "" if window is None else f", {window[0]:%Y-%m-%d} to {window[1]:%Y-%m-%d}"
    return Node(name, NodeKind.SNAPSHOT, state, time, f"{digest[:_DIGEST_LENGTH]}{days}")


def version_node(name: str, state: str, time: datetime, *, digest: str) -> Node:
    """A version: its digest."""
    return Node(name, NodeKind.VERSION, state, time, digest[:_DIGEST_LENGTH])


def evaluation_node(name: str, time: datetime, *, split: str, metrics: Mapping[str, float]) -> Node:
    """An evaluation: the first of its scores, by name."""
    told = [f"{metric} {value:.4g}" for metric, value in sorted(metrics.items())]
    more = ", …" if len(told) > _TOLD_METRICS else ""
    label = f"{split}: {', '.join(told[:_TOLD_METRICS])}{more}"
    return Node(name, NodeKind.EVALUATION, "", time, label)


def gate_result_node(
    name: str, time: datetime, *, passed: bool, failures: Sequence[str], rules: int
) -> Node:
    """What the gate said: how many rules passed, or the numbers of those that did not."""
    label = "; ".join(failures) or f"{rules} of {rules} rules"
    return Node(name, NodeKind.GATE_RESULT, "PASSED" if passed else "FAILED", time, label)


def approval_node(
    name: str, state: ApprovalState, time: datetime, *, requester: str, approver: str
) -> Node:
    """An approval: who asked, who decided."""
    decided = f", decided by {approver}" if approver else ""
    return Node(name, NodeKind.APPROVAL, state.value, time, f"asked by {requester}{decided}")


def alias_node(name: str, time: datetime, *, version: str) -> Node:
    """An alias: where it points now."""
    return Node(name, NodeKind.ALIAS, "", time, version)


def whereabouts_node(told: Whereabouts) -> Node:
    """A rollout or an endpoint: why it stands where it does, or the version."""
    return Node(
        told.name, kind_of(told.name), told.state, told.create_time, told.message or told.version
    )
