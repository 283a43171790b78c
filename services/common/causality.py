"""Which episode the present work belongs to, and which event caused it.

Both ids travel as gRPC metadata from service to service (`services.common.rpc`)
and end up in every event (`services.common.store.outbox`), so that the chain from
a drift report to the version it brought into service can be walked back.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Final

CORRELATION_METADATA: Final = "x-correlation-id"
CAUSATION_METADATA: Final = "x-causation-id"


@dataclass(frozen=True, slots=True)
class Causality:
    """Where the present work comes from.

    Attributes:
        correlation_id: Episode of the loop; empty outside of one.
        causation_id: Id of the event that caused the work; empty when a person did.
    """

    correlation_id: str = ""
    causation_id: str = ""


NO_CAUSALITY: Final = Causality()

_CURRENT: ContextVar[Causality] = ContextVar("causality", default=NO_CAUSALITY)


def causality() -> Causality:
    """The causality of the running task or thread."""
    return _CURRENT.get()


def set_causality(origin: Causality) -> None:
    """Set it for the rest of the running task, which must be the call's own."""
    _CURRENT.set(origin)


@contextmanager
def caused_by(correlation_id: str, causation_id: str = "") -> Iterator[None]:
    """Everything inside the block belongs to `correlation_id` and stems from `causation_id`."""
    token = _CURRENT.set(Causality(correlation_id, causation_id))
    try:
        yield
    finally:
        _CURRENT.reset(token)
