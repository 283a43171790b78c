"""Inference requests and their answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from services.inference.core.decisions import Decider, Decision
from services.inference.core.rows import RowSource, Tensors
from services.inference.core.served import NoVersion, ServedVariant


@dataclass(frozen=True, slots=True)
class Query:
    """One inference request.

    Attributes:
        model: Endpoint id (default project) or resource name.
        version: Version number to pin; '' routes by weight.
        outputs: Outputs wanted; empty means all of the model's.
        event_time_us: Microseconds since the epoch; None means now.
        sticky_key: Callers with one key see one variant; '' falls back to `id`.
        deadline: `time.monotonic()` after which nobody waits.
        size_bytes: Of the request as it came.
        classes: Outputs of which only so many of the largest values are wanted.
    """

    model: str
    version: str
    id: str
    tensors: RowSource
    outputs: tuple[str, ...] = ()
    event_time_us: int | None = None
    sticky_key: str = ""
    deadline: float | None = None
    size_bytes: int = 0
    classes: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Prediction:
    """The answer to a query.

    Attributes:
        outputs: The outputs asked for, by name, each [rows, ...].
        policy: What decided; None where the model has other than two classes.
        decision: Of the only row; None when there are more, or no policy.
        out_of_range: Feature values outside what training saw.
        fallback: Why the endpoint's fallback answered; '' if it did not.
    """

    served: ServedVariant | NoVersion
    policy: Decider | None
    id: str
    event_time_us: int
    outputs: Tensors
    decision: Decision | None
    out_of_range: int
    fallback: str = ""
