"""Holds: a person's orders about versions and snapshots."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from services.common.resources import Meta
from services.registry.core.errors import HoldReleased


class HoldKind(StrEnum):
    """What is ordered."""

    LEGAL = "LEGAL"
    MANUAL = "MANUAL"
    PRIVACY = "PRIVACY"

    @property
    def keeps_bytes(self) -> bool:
        """Whether the target's bytes must stay; a privacy hold only forbids their use."""
        return self is not HoldKind.PRIVACY


class HoldState(StrEnum):
    """Whether a hold is in force."""

    ACTIVE = "ACTIVE"
    RELEASED = "RELEASED"


@dataclass(frozen=True, slots=True)
class Hold:
    """One order, in force until it is released, and on record for ever.

    Attributes:
        meta: `projects/{p}/holds/{hold}`.
        target: Version or snapshot, by resource name.
    """

    meta: Meta
    target: str
    kind: HoldKind
    placed_by: str
    reason: str
    state: HoldState = HoldState.ACTIVE
    released_by: str = ""
    release_reason: str = ""
    release_time: datetime | None = None

    def released(self, actor: str, reason: str, now: datetime) -> Hold:
        """This hold, lifted.

        Raises:
            HoldReleased: It is over already.
        """
        if self.state is HoldState.RELEASED:
            raise HoldReleased(self.meta.name, self.released_by)
        return replace(
            self,
            meta=self.meta.touched(now),
            state=HoldState.RELEASED,
            released_by=actor,
            release_reason=reason,
            release_time=now,
        )
