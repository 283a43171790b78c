"""Identities of new resources."""

from __future__ import annotations

from collections.abc import Mapping

from services.common.resources import NO_LABELS, Meta
from services.monitor.core.ports import MonitorTx


def new_meta(tx: MonitorTx, name: str, labels: Mapping[str, str] = NO_LABELS) -> Meta:
    """The identity of a resource that begins now."""
    return _meta(tx, name, tx.new_uid(), labels)


def new_child_meta(tx: MonitorTx, parent: str, collection: str) -> Meta:
    """The identity of a resource whose last part is its uid."""
    uid = tx.new_uid()
    return _meta(tx, f"{parent}/{collection}/{uid}", uid, NO_LABELS)


def _meta(tx: MonitorTx, name: str, uid: str, labels: Mapping[str, str]) -> Meta:
    return Meta(
        name=name, uid=uid, revision=1, create_time=tx.now, update_time=tx.now, labels=labels
    )
