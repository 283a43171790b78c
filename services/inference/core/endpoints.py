"""Endpoints: the versions they hold and how the traffic is split among them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum

from services.inference.core.decisions import DecisionPolicy
from services.inference.core.errors import InvalidWeights, NothingToRollBackTo
from services.inference.core.routing import WHOLE_BP, Variant, check_weights

DEFAULT_PROJECT = "projects/default/"


class Runtime(StrEnum):
    """Where an endpoint's versions run."""

    ONNX_RUNTIME = "ONNX_RUNTIME"
    TRITON = "TRITON"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """What callers address.

    Attributes:
        name: `projects/{p}/endpoints/{e}`.
        variants: In routing order: a candidate first, the stable version last.
            Variants without a share stay loaded: candidates being prepared, and
            the version to go back to.
        alias: Alias of the model that follows the stable version; '' moves none.
        logs_observations: Whether predictions go to the monitor.
        initial_version: What it was created with,
        initial_approval: and what allowed that.
        previous_version: What a roll-back brings back; '' if there is nothing.
        revision: Grows by one with each change; the etag stands for it.
    """

    name: str
    uid: str
    variants: tuple[Variant, ...]
    policy: DecisionPolicy
    create_time: datetime
    update_time: datetime
    runtime: Runtime = Runtime.ONNX_RUNTIME
    alias: str = ""
    logs_observations: bool = True
    initial_version: str = ""
    initial_approval: str = ""
    previous_version: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    revision: int = 1

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
    def answers_to(self) -> tuple[str, ...]:
        """The model names that inference requests may use for it."""
        if self.name.startswith(DEFAULT_PROJECT):
            return (self.name, self.name.rpartition("/")[2])
        return (self.name,)

    def changed(self, now: datetime, **changes: object) -> Endpoint:
        """This endpoint with `changes`, one revision later."""
        return replace(self, update_time=now, revision=self.revision + 1, **changes)  # type: ignore[arg-type] # dataclasses.replace is typed per field only for literal keywords

    def with_candidate(self, candidate: Variant, share_bp: int, now: datetime) -> Endpoint:
        """`candidate` first with `share_bp`, the stable version with the rest.

        The version to go back to stays loaded only while no candidate needs its room.
        """
        stable = replace(self.stable, weight_bp=WHOLE_BP - share_bp)
        return self.changed(now, variants=(replace(candidate, weight_bp=share_bp), stable))

    def without_candidate(self, now: datetime) -> Endpoint:
        """The stable version with the whole traffic, and nothing else."""
        return self.changed(now, variants=(replace(self.stable, weight_bp=WHOLE_BP),))

    def promoted(self, candidate: Variant, now: datetime) -> Endpoint:
        """`candidate` with the whole traffic; the stable version stays loaded to go back to."""
        previous = replace(self.stable, weight_bp=0)
        return self.changed(
            now,
            variants=(previous, replace(candidate, weight_bp=WHOLE_BP)),
            previous_version=previous.version,
        )

    def rolled_back(self, now: datetime) -> Endpoint:
        """The previous version with the whole traffic, and no version to go back to.

        Raises:
            NothingToRollBackTo: It is not held.
        """
        for variant in self.variants:
            if self.previous_version and variant.version == self.previous_version:
                return self.changed(
                    now,
                    variants=(replace(variant, weight_bp=WHOLE_BP),),
                    previous_version="",
                )
        raise NothingToRollBackTo(self.name)


def model_of(version: str) -> str:
    """The model that a version belongs to: `projects/{p}/models/{m}`."""
    return version.rpartition("/versions/")[0]


def number_of(version: str) -> str:
    """The last part of a version's name."""
    return version.rpartition("/")[2]
