"""Tells the registry what became of versions, out of this service's own events."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final, Protocol

import structlog

from services.common.causality import caused_by
from services.common.errors import ServiceError

log = structlog.get_logger()

LOOK_S: Final = 0.5
"""Seconds between looks at the events."""

RETRY_S: Final = 2.0
"""Seconds until a registry that was away is asked again."""

_LONGEST_MESSAGE: Final = 1024
_BATCH: Final = 64


class Turn(StrEnum):
    """What became of a version at an endpoint; see the registry's `Deployment.State`."""

    ROLLING_OUT = "ROLLING_OUT"
    SUCCEEDED = "SUCCEEDED"
    ROLLED_BACK = "ROLLED_BACK"
    CANCELLED = "CANCELLED"
    FAILED = "FAILED"
    DELETED = "DELETED"


TURNS: Final[Mapping[str, Turn]] = {
    "endpoint.created": Turn.SUCCEEDED,
    "endpoint.deleted": Turn.DELETED,
    "rollout.created": Turn.ROLLING_OUT,
    "rollout.succeeded": Turn.SUCCEEDED,
    "rollout.rolled_back": Turn.ROLLED_BACK,
    "rollout.cancelled": Turn.CANCELLED,
    "rollout.failed": Turn.FAILED,
}
"""The events that the registry is told of."""


@dataclass(frozen=True, slots=True)
class Happening:
    """One of this service's events.

    Attributes:
        cursor: Where the events after it begin.
        kind: Such as `rollout.created`.
    """

    id: str
    cursor: str
    kind: str
    subject: str
    time: datetime
    data: Mapping[str, object]
    correlation_id: str


@dataclass(frozen=True, slots=True)
class Report:
    """What became of a version at an endpoint.

    Attributes:
        rollout: Empty for what the endpoint was created with, and when it is deleted.
        approval: Empty if it needed none.
        message: Why, for people.
        request_id: The same each time that this is told.
    """

    endpoint: str
    rollout: str
    version: str
    approval: str
    turn: Turn
    time: datetime
    message: str
    request_id: str


class Happenings(Protocol):
    """This service's events, and how far they have been told."""

    async def next(self, limit: int) -> Sequence[Happening]:
        """The oldest events among `TURNS` that are not done; the same until `done`."""
        ...

    async def done(self, happening: Happening) -> None:
        """Go on after it, also after a restart.

        Raises:
            LeaseLost: Another process tells now.
        """
        ...


class Registrar(Protocol):
    """Who keeps the lineage."""

    async def record_deployment(self, report: Report) -> None:
        """Keep `report`; a repeat changes nothing. What is refused for good is logged.

        Raises:
            ServiceError: The registry is away, or has no answer now.
        """
        ...


class DeploymentTeller:
    """Tells each event once, in their order, as often as it takes.

    A process that dies between telling and noting tells again under the same request id.

    Args:
        happenings: What to tell, guarded by a lease.
        registrar: Whom to tell.
    """

    def __init__(self, happenings: Happenings, registrar: Registrar) -> None:
        self._happenings = happenings
        self._registrar = registrar

    async def run(self) -> None:
        """Tell until cancelled."""
        while True:
            all_told = await self._pass()
            await asyncio.sleep(LOOK_S if all_told else RETRY_S)

    async def _pass(self) -> bool:
        """Whether everything could be told."""
        while happenings := await self._happenings.next(_BATCH):
            for happening in happenings:
                try:
                    with caused_by(happening.correlation_id, happening.id):
                        await self._registrar.record_deployment(report_of(happening))
                except ServiceError as error:
                    log.warning(
                        "deployment.not_told", subject=happening.subject, reason=error.reason
                    )
                    return False
                await self._happenings.done(happening)
        return True


def report_of(happening: Happening) -> Report:
    """What the registry is told of one of the events in `TURNS`."""
    is_rollout = happening.kind.startswith("rollout.")
    data = happening.data
    return Report(
        endpoint=str(data["endpoint"]) if is_rollout else happening.subject,
        rollout=happening.subject if is_rollout else "",
        version=str(data["version"]),
        approval=str(data.get("approval", "")),
        turn=TURNS[happening.kind],
        time=happening.time,
        message=str(data.get("reason", ""))[:_LONGEST_MESSAGE],
        request_id=str(uuid.uuid5(uuid.NAMESPACE_URL, f"deployment|{happening.id}")),
    )
