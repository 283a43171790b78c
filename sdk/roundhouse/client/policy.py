"""How long a call may take, whether it may be repeated, and when.

A call may be repeated when it changes nothing (the contract marks it NO_SIDE_EFFECTS), or when it
carries a `request_id`, under which the service gives its first answer again.
"""

from __future__ import annotations

import random
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Final, TypeVar

from google.protobuf import descriptor_pool
from google.protobuf.descriptor_pb2 import MethodOptions
from google.protobuf.message import Message
from roundhouse.common.v1.events_pb2 import WatchEventsRequest

RequestT = TypeVar("RequestT", bound=Message)

FIRST_DELAY_S: Final = 0.1
LONGEST_DELAY_S: Final = 5.0

# Streams that follow something without an end of its own: a deadline would only cut them off.
_FOLLOWING_PREFIXES: Final = ("Watch", "Tail")

# The inference protocol carries no idempotency marks. An inference with an id may be repeated:
# its observations have that id, and the monitor stores an id once.
_OIP_SERVICE: Final = "inference.GRPCInferenceService"
_OIP_READS: Final = frozenset(
    {"ServerLive", "ServerReady", "ModelReady", "ServerMetadata", "ModelMetadata"}
)
_OIP_INFER: Final = "ModelInfer"


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Deadlines that calls get when the caller gives none, in seconds."""

    unary_s: float = 30.0
    transfer_s: float = 600.0
    """Uploads, downloads and other streams that have an end."""
    away_s: float = 30.0
    """How long a call that may be repeated is repeated while the service is away; its own deadline
    ends that too."""


def with_request_id(request: RequestT) -> RequestT:
    """`request`, or a copy with a fresh request id where the contract wants one and it has none."""
    if getattr(request, "request_id", None) != "":
        return request
    stamped = type(request)()
    stamped.CopyFrom(request)
    stamped.request_id = str(uuid.uuid4())  # type: ignore[attr-defined]  # checked above
    return stamped


def follows(method: str) -> bool:
    """Whether the stream of this method path has no end of its own."""
    return method.rpartition("/")[2].startswith(_FOLLOWING_PREFIXES)


def may_repeat(method: str, request: Message) -> bool:
    """Whether the call has the same effect when it is made twice."""
    if getattr(request, "request_id", None):
        return True
    service, _, name = method.lstrip("/").rpartition("/")
    if service == _OIP_SERVICE:
        return name in _OIP_READS or (name == _OIP_INFER and getattr(request, "id", None) != "")
    return _has_no_side_effects(service, name)


def delays_s(deadline: float) -> Iterator[float]:
    """Waits between attempts, growing and jittered, until the next would pass `deadline`.

    Args:
        deadline: By `time.monotonic`.
    """
    ceiling_s = FIRST_DELAY_S
    while True:
        delay_s = random.uniform(ceiling_s / 2, ceiling_s)  # noqa: S311  spreads load, hides nothing
        if time.monotonic() + delay_s >= deadline:
            return
        yield delay_s
        ceiling_s = min(ceiling_s * 2, LONGEST_DELAY_S)


def reconnect_delays_s(request: WatchEventsRequest, timeouts: Timeouts) -> Iterator[float]:
    """Waits between attempts to take up a broken event stream; without end if it follows."""
    return delays_s(float("inf") if request.follow else time.monotonic() + timeouts.away_s)


@cache
def _has_no_side_effects(service: str, name: str) -> bool:
    try:
        method = descriptor_pool.Default().FindServiceByName(service).methods_by_name[name]
    except KeyError:
        return False
    options: MethodOptions = method.GetOptions()
    return options.idempotency_level == MethodOptions.NO_SIDE_EFFECTS
