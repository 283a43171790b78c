"""Endpoints as they are served now."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from services.inference.core.decisions import Decider
from services.inference.core.errors import (
    ModelUnavailable,
    VersionNotLoaded,
)
from services.inference.core.fallbacks import DefaultDecision
from services.inference.core.mirroring import ServedShadow
from services.inference.core.observing import Observer
from services.inference.core.ports import (
    FallbackMeter,
    LoadedModel,
    Meter,
)
from services.inference.core.routing import WHOLE_BP, Split, Variant
from services.inference.core.rows import Rows
from services.inference.core.signature import Signature


@dataclass(frozen=True, slots=True)
class ServedVariant:
    """A loaded version of an endpoint.

    Attributes:
        observer: What may be told of its rows; None: everything.
    """

    variant: Variant
    number: str
    signature: Signature
    model: LoadedModel
    meter: Meter
    observer: Observer | None = None

    def observed(self, prediction_id: str, rows: Rows) -> tuple[Signature, Rows] | None:
        """What may be told of `rows`; None if they are not observed."""
        if self.observer is None:
            return self.signature, rows
        if self.observer.samples(prediction_id):
            return self.observer.signature, self.observer.seen(rows)
        self.meter.not_sampled(rows.count)
        return None


@dataclass(frozen=True, slots=True)
class NoVersion:
    """Stands where a version would, when a decision was made without one."""

    variant: Variant
    number: str


NO_VERSION = NoVersion(Variant("", "", 0), "")


@dataclass(frozen=True, slots=True)
class ServedFallback:
    """What answers when a variant can't.

    Attributes:
        decision: What is decided without a model, or
        served: the version that answers; None, too, while it is not loaded.
        budget_s: Time that the variants have; None: the caller's.
    """

    decision: DefaultDecision | None
    served: ServedVariant | None
    budget_s: float | None
    meter: FallbackMeter


@dataclass(frozen=True)
class ServedEndpoint:
    """An endpoint as it is served now; replaced whole when anything changes.

    Attributes:
        name: Resource name.
        variants: The loaded ones, in routing order; the last is the stable one.
        shadow: Gets copies of what the stable one answers.
        forbids_pins: Whether requests may not choose the version that answers.
    """

    name: str
    policy: Decider
    variants: tuple[ServedVariant, ...]
    logs_observations: bool = True
    shadow: ServedShadow | None = None
    fallback: ServedFallback | None = None
    forbids_pins: bool = False

    @cached_property
    def _split(self) -> Split:
        return Split([served.variant.weight_bp for served in self.variants])

    def pinned(self, number: str) -> ServedVariant:
        """The variant whose version has this number.

        Raises:
            VersionNotLoaded: None has.
        """
        for served in self.variants:
            if served.number == number:
                return served
        raise VersionNotLoaded(self.name, number, [served.number for served in self.variants])

    def chosen(self, place: int) -> ServedVariant:
        """The variant that owns `place` in [0, 10000).

        The share of a variant that is not loaded here goes to the others.

        Raises:
            ModelUnavailable: No variant with a share is loaded.
        """
        total = self._split.total_bp
        if not total:
            raise ModelUnavailable(self.name, "no version with a share of the traffic is loaded")
        return self.variants[self._split.position(place * total // WHOLE_BP)]
