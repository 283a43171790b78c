"""Identities of new resources."""

from __future__ import annotations

from collections.abc import Mapping

from services.common.resources import NO_LABELS, Meta
from services.registry.core.ports import RegistryTx


def new_meta(tx: RegistryTx, name: str, labels: Mapping[str, str] = NO_LABELS) -> Meta:
    """The identity of a resource that begins now."""
    return Meta(
        name=name,
        uid=tx.new_uid(),
        revision=1,
        create_time=tx.now,
        update_time=tx.now,
        labels=labels,
    )


def new_child_meta(tx: RegistryTx, parent: str, collection: str) -> Meta:
    """The identity of a resource whose id the registry chooses."""
    uid = tx.new_uid()
    return Meta(
        name=f"{parent}/{collection}/{uid}",
        uid=uid,
        revision=1,
        create_time=tx.now,
        update_time=tx.now,
    )
