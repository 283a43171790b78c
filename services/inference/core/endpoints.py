"""Endpoints: the versions they hold and how the traffic is split among them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Final

from services.common.names import ResourceName
from services.common.resources import Meta
from services.inference.core.decisions import Decider, DecisionPolicy
from services.inference.core.errors import InvalidWeights, NothingToRollBackTo
from services.inference.core.fallbacks import Fallback
from services.inference.core.observing import OBSERVE_ALL, ObservationRules
from services.inference.core.policies import PolicyReference
from services.inference.core.routing import WHOLE_BP, Variant, check_weights
from services.inference.core.shadows import Shadow

ENDPOINT_NAME: Final = ResourceName("projects/{project}/endpoints/{endpoint}")


class Runtime(StrEnum):
    """Where an endpoint's versions run."""

    ONNX_RUNTIME = "ONNX_RUNTIME"
    TRITON = "TRITON"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """What callers address.

    Attributes:
        meta: Name `projects/{p}/endpoints/{e}`; the id is unique over all projects,
            since inference requests know no project.
        variants: In routing order: a candidate first, the stable version last.
            Variants without a share stay loaded: candidates being prepared, and
            the version to go back to.
        policy: The endpoint's own, which decides unless it points at another.
        observation_rules: What the monitor is told.
        fallback: What answers when a variant can't; None: the failure does.
        points_at: The policy version that decides; None for the endpoint's own.
        alias: Alias of the model that follows the stable version; '' moves none.
        logs_observations: Whether predictions go to the monitor.
        initial_version: What it was created with,
        initial_approval: and what allowed that.
        previous_version: What a roll-back brings back; '' if there is nothing.
        shadow: The version that gets copies of the requests, if one does.
        forbids_pins: Whether requests may not choose the version that answers.
    """

    meta: Meta
    variants: tuple[Variant, ...]
    policy: DecisionPolicy
    initial_version: str
    initial_approval: str
    runtime: Runtime = Runtime.ONNX_RUNTIME
    alias: str = ""
    logs_observations: bool = True
    previous_version: str = ""
    points_at: PolicyReference | None = None
    observation_rules: ObservationRules = OBSERVE_ALL
    shadow: Shadow | None = None
    fallback: Fallback | None = None
    forbids_pins: bool = False

    def __post_init__(self) -> None:
        """Refuse variants that are no split, or versions of different models.

        Raises:
            InvalidWeights: They are.
        """
        check_weights(self.variants)
        if len({model_of(variant.version) for variant in self.variants}) > 1:
            raise InvalidWeights("the versions belong to different models")

    @property
    def stable(self) -> Variant:
        """The version that serves what no candidate gets."""
        return self.variants[-1]

    @property
    def name(self) -> str:
        """Resource name."""
        return self.meta.name

    @property
    def answers_to(self) -> tuple[str, str]:
        """The model names that inference requests may use for it."""
        return (self.name, ENDPOINT_NAME.id_of(self.name))

    @property
    def held(self) -> tuple[Variant, ...]:
        """Every version that must be loaded."""
        if self.fallback is None or self.fallback.variant is None:
            return self.variants
        return (self.fallback.variant, *self.variants)

    @property
    def decider(self) -> Decider:
        """What decides, made ready; costs too much for each request."""
        if self.points_at is not None:
            return self.points_at.decider()
        return self.policy.decider(self.name)

    def with_candidate(self, candidate: Variant, share_bp: int, now: datetime) -> Endpoint:
        """`candidate` first with `share_bp`, the stable version with the rest."""
        return self._split(
            replace(candidate, weight_bp=share_bp),
            *self._idle(but=candidate.version),
            replace(self.stable, weight_bp=WHOLE_BP - share_bp),
            now=now,
        )

    def without_candidate(self, candidate: str, now: datetime) -> Endpoint:
        """The stable version with the whole traffic.

        `candidate` stays loaded only if it is the version to go back to.
        """
        unloaded = "" if candidate == self.previous_version else candidate
        return self._split(
            *self._idle(but=unloaded), replace(self.stable, weight_bp=WHOLE_BP), now=now
        )

    def promoted(self, candidate: Variant, now: datetime) -> Endpoint:
        """`candidate` with the whole traffic; the stable version stays loaded to go back to."""
        promoted = self._split(
            replace(self.stable, weight_bp=0), replace(candidate, weight_bp=WHOLE_BP), now=now
        )
        return replace(promoted, previous_version=self.stable.version)

    def rolled_back(self, now: datetime) -> Endpoint:
        """The previous version with the whole traffic, and no version to go back to.

        Raises:
            NothingToRollBackTo: It is not held.
        """
        for variant in self.variants:
            if self.previous_version and variant.version == self.previous_version:
                back = self._split(replace(variant, weight_bp=WHOLE_BP), now=now)
                return replace(back, previous_version="")
        raise NothingToRollBackTo(self.name)

    def swapped(self, now: datetime) -> Endpoint:
        """The previous version with the whole traffic; the stable one stays loaded.

        Raises:
            NothingToRollBackTo: The previous version is not held.
        """
        for variant in self.variants:
            if self.previous_version and variant.version == self.previous_version:
                swapped = self._split(
                    replace(self.stable, weight_bp=0), replace(variant, weight_bp=WHOLE_BP), now=now
                )
                return replace(swapped, previous_version=self.stable.version)
        raise NothingToRollBackTo(self.name)

    def _idle(self, but: str) -> list[Variant]:
        """The versions before the stable one, without a share."""
        return [
            replace(variant, weight_bp=0)
            for variant in self.variants[:-1]
            if variant.version != but
        ]

    def _split(self, *variants: Variant, now: datetime) -> Endpoint:
        return replace(self, variants=variants, shadow=None, meta=self.meta.touched(now))


def model_of(version: str) -> str:
    """The model that a version belongs to: `projects/{p}/models/{m}`."""
    return version.rpartition("/versions/")[0]


def number_of(version: str) -> str:
    """The last part of a version's name."""
    return version.rpartition("/")[2]
