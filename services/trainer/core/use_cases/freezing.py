"""Freezing a project's queue, and lifting that."""

from __future__ import annotations

from datetime import datetime

from services.common.errors import FieldViolation, InvalidRequest
from services.common.resources import Meta, existing
from services.trainer.core.errors import FreezeNotFound
from services.trainer.core.freezes import FREEZE, Freeze
from services.trainer.core.ports import TrainerTx


def set_freeze(tx: TrainerTx, name: str, *, reason: str, expire_time: datetime | None) -> Freeze:
    """The freeze, new or with its reason and expiry set anew.

    Raises:
        InvalidRequest: The expiry is past.
    """
    if expire_time is not None and expire_time <= tx.now:
        raise InvalidRequest([FieldViolation("freeze.expire_time", "is past")])
    FREEZE.parse(name, field="freeze_id")
    stored = tx.freezes.get(name)
    if stored is not None:
        anew = stored.set_anew(reason, expire_time, tx.now)
        tx.freezes.replace(anew)
        return anew
    freeze = Freeze(Meta(name, tx.new_uid(), 1, tx.now, tx.now), reason, expire_time)
    tx.freezes.add(freeze)
    tx.tell("freeze.created", name, {"reason": reason})
    return freeze


def the_freeze(tx: TrainerTx, name: str) -> Freeze:
    """The freeze.

    Raises:
        FreezeNotFound: There is none.
    """
    return existing(tx.freezes, FREEZE, name, FreezeNotFound)


def delete_freeze(tx: TrainerTx, name: str, *, etag: str) -> None:
    """End a freeze.

    Raises:
        FreezeNotFound: There is none.
        EtagMismatch: It has been set anew since the caller read it.
    """
    the_freeze(tx, name).meta.check_etag(etag)
    tx.freezes.remove(name)
    tx.tell("freeze.deleted", name, {})
