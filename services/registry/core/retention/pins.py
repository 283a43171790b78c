"""Pins: somebody relies on a version's or a snapshot's bytes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

from services.common.resources import Meta
from services.registry.core.errors import PinExists


@dataclass(frozen=True, slots=True)
class Pin:
    """Keeps its target while it lasts.

    Attributes:
        meta: `projects/{p}/pins/{pin}`.
        target: Version or snapshot, by resource name.
        holder: Who relies on it.
        expire_time: When it ends by itself; None: not before it is deleted.
    """

    meta: Meta
    target: str
    holder: str
    reason: str = ""
    expire_time: datetime | None = None

    def lasts_at(self, now: datetime) -> bool:
        """Whether it keeps its target at `now`."""
        return self.expire_time is None or now < self.expire_time

    def set_anew(self, wanted: Pin, now: datetime) -> Pin:
        """This pin with the reason and expiry of `wanted`.

        Raises:
            PinExists: It is of another target or holder.
        """
        if (self.target, self.holder) != (wanted.target, wanted.holder):
            raise PinExists(self.meta.name, self.target, self.holder)
        return replace(
            self,
            meta=self.meta.touched(now),
            reason=wanted.reason,
            expire_time=wanted.expire_time,
        )
