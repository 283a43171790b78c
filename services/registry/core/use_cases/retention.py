"""Pins and holds: set, ended, asked for."""

from __future__ import annotations

from datetime import datetime

from services.common.errors import FieldViolation, InvalidRequest
from services.common.resources import existing
from services.registry.core.errors import (
    HoldNotFound,
    PinNotFound,
    PrivacyHeld,
    Retained,
)
from services.registry.core.names import HOLD, PIN, SNAPSHOT, checked, project_of
from services.registry.core.ports import RegistryTx
from services.registry.core.retention.holds import Hold, HoldKind
from services.registry.core.retention.pins import Pin
from services.registry.core.use_cases.identities import new_child_meta, new_meta
from services.registry.core.use_cases.lookup import the_snapshot, the_version


def the_pin(tx: RegistryTx, name: str) -> Pin:
    """The pin `name`.

    Raises:
        InvalidName, PinNotFound: There is none.
    """
    return existing(tx.pins, PIN, name, PinNotFound)


def the_hold(tx: RegistryTx, name: str) -> Hold:
    """The hold `name`.

    Raises:
        InvalidName, HoldNotFound: There is none.
    """
    return existing(tx.holds, HOLD, name, HoldNotFound)


def set_pin(
    tx: RegistryTx,
    name: str,
    *,
    target: str,
    holder: str,
    reason: str,
    expire_time: datetime | None,
) -> Pin:
    """The pin, new or with its reason and expiry set anew.

    Raises:
        VersionNotFound, SnapshotNotFound: The target doesn't exist.
        BytesCollected: It is gone.
        PinExists: The name is taken by a pin of another target or holder.
        InvalidRequest: The expiry is past.
    """
    if expire_time is not None and expire_time <= tx.now:
        raise InvalidRequest([FieldViolation("pin.expire_time", "is past")])
    _need_target(tx, target, "pin.target")
    checked(PIN, name, "pin_id")
    pin = Pin(new_meta(tx, name), target, holder, reason, expire_time)
    stored = tx.pins.get(name)
    if stored is None:
        tx.pins.add(pin)
        tx.tell("pin.created", name, {"target": target, "holder": holder})
        return pin
    anew = stored.set_anew(pin, tx.now)
    tx.pins.replace(anew)
    return anew


def delete_pin(tx: RegistryTx, name: str, *, etag: str) -> None:
    """End a pin.

    Raises:
        PinNotFound: There is none.
        EtagMismatch: It has been set anew since the caller read it.
    """
    pin = the_pin(tx, name)
    pin.meta.check_etag(etag)
    tx.pins.remove(name)
    tx.tell("pin.deleted", name, {"target": pin.target, "holder": pin.holder})


def place_hold(
    tx: RegistryTx, parent: str, *, target: str, kind: HoldKind, placed_by: str, reason: str
) -> Hold:
    """A new hold, in force.

    Raises:
        VersionNotFound, SnapshotNotFound: The target doesn't exist.
        BytesCollected: It is gone.
        InvalidRequest: It is of another project, or a version's privacy is to be held.
    """
    if project_of(target) != parent:
        raise InvalidRequest([FieldViolation("hold.target", f"is not of {parent}")])
    if kind is HoldKind.PRIVACY and not SNAPSHOT.matches(target):
        text = "a privacy hold is on a snapshot; versions have no rows"
        raise InvalidRequest([FieldViolation("hold.target", text)])
    _need_target(tx, target, "hold.target")
    hold = Hold(new_child_meta(tx, parent, "holds"), target, kind, placed_by, reason)
    tx.holds.add(hold)
    tx.tell("hold.placed", hold.meta.name, {"target": target, "kind": kind.value})
    return hold


def release_hold(tx: RegistryTx, name: str, *, actor: str, reason: str, etag: str) -> Hold:
    """The hold, over.

    Raises:
        HoldNotFound: There is none.
        EtagMismatch: It has changed since the caller read it.
        HoldReleased: It is over already.
    """
    hold = the_hold(tx, name)
    hold.meta.check_etag(etag)
    released = hold.released(actor, reason, tx.now)
    tx.holds.replace(released)
    tx.tell("hold.released", name, {"target": hold.target, "actor": actor})
    return released


def privacy_hold_on(tx: RegistryTx, snapshot: str) -> str:
    """The privacy hold in force on a snapshot; empty if there is none."""
    for hold in tx.holds_on(snapshot):
        if hold.kind is HoldKind.PRIVACY:
            return hold.meta.name
    return ""


def need_no_privacy_hold(tx: RegistryTx, snapshot: str) -> None:
    """Pass only if something may be made from the snapshot's rows.

    Raises:
        PrivacyHeld: A privacy hold is on it.
    """
    hold = privacy_hold_on(tx, snapshot)
    if hold:
        raise PrivacyHeld(snapshot, hold)


def need_unretained(tx: RegistryTx, name: str) -> None:
    """Pass only if no pin and no hold keeps a version or snapshot.

    Raises:
        Retained: One does.
    """
    for pin in tx.pins_on(name):
        if pin.lasts_at(tx.now):
            raise Retained(name, pin.meta.name)
    for hold in tx.holds_on(name):
        if hold.kind.keeps_bytes:
            raise Retained(name, hold.meta.name)


def _need_target(tx: RegistryTx, target: str, field: str) -> None:
    if SNAPSHOT.matches(target):
        the_snapshot(tx, target, field).need_bytes()
    else:
        the_version(tx, target, field).need_bytes()
