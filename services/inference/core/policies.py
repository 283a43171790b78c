"""Decision policies with a name: immutable versions that endpoints point at."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, TypeAlias

from services.common.names import ResourceName
from services.common.resources import Meta
from services.inference.core.decisions import Decider, Span
from services.inference.core.errors import InvalidPolicy
from services.inference.core.signature import LABELS

POLICY_NAME: Final = ResourceName("projects/{project}/policies/{policy}")
POLICY_VERSION_NAME: Final = ResourceName(
    "projects/{project}/policies/{policy}/versions/{version}", server_ids=("version",)
)

MOST_ACTIONS: Final = 16
_EVEN: Final = 0.5
_ROUNDING: Final = 1e-9
"""Thresholds such as 0.3 and 0.7 add up to 1 only about."""
_RULE: Final = "policy_version"


@dataclass(frozen=True, slots=True)
class ClassThreshold:
    """When a class is decided on.

    Attributes:
        label: The class.
        threshold: Lowest probability of the class that decides for it, in [0, 1].
        action: Recommended then.
    """

    label: int
    threshold: float
    action: str


@dataclass(frozen=True, slots=True)
class ThresholdRule:
    """A threshold per class; between them lies a band in which neither is sure enough.

    Attributes:
        classes: One per label, in any order.
        abstain_action: Recommended within the band, such as `review`; the label there is the
            more probable one. '' where there is no band.
    """

    classes: tuple[ClassThreshold, ...]
    abstain_action: str = ""

    def __post_init__(self) -> None:
        """Refuse thresholds that leave a probability without a decision, or with two.

        Raises:
            InvalidPolicy: Naming the field.
        """
        where = f"{_RULE}.thresholds"
        for place, each in enumerate(self.classes):
            field = f"{where}.classes[{place}]"
            if each.label not in LABELS:
                raise InvalidPolicy(f"{field}.label", f"is {each.label}; models know {LABELS}")
            if not 0.0 <= each.threshold <= 1.0:
                raise InvalidPolicy(f"{field}.threshold", "is not between 0 and 1")
            if not each.action:
                raise InvalidPolicy(f"{field}.action", "is empty")
        if sorted(each.label for each in self.classes) != list(LABELS):
            raise InvalidPolicy(f"{where}.classes", "must hold labels 0 and 1, each once")
        total = sum(each.threshold for each in self.classes)
        if total < 1.0 - _ROUNDING:
            raise InvalidPolicy(
                f"{where}.classes",
                f"has thresholds that add up to {total:g}; below 1 both classes could be decided",
            )
        has_band = total > 1.0 + _ROUNDING
        if has_band and not self.abstain_action:
            raise InvalidPolicy(
                f"{where}.abstain_action",
                f"is empty although the thresholds add up to {total:g}, which leaves a band",
            )
        if self.abstain_action and not has_band:
            raise InvalidPolicy(
                f"{where}.abstain_action",
                "could never be recommended: the thresholds add up to 1 and leave no band",
            )

    def decider(self, name: str, version: int) -> Decider:
        """See `Rule`."""
        negative, positive = sorted(self.classes, key=lambda each: each.label)
        if not self.abstain_action:
            cuts = [positive.threshold]
            return Decider(name, version, cuts, [_span(negative), _span(positive)])
        lower = math.nextafter(1.0 - negative.threshold, math.inf)
        upper = positive.threshold
        cuts = [lower, min(max(lower, _EVEN), upper), upper]
        band = [Span(label, self.abstain_action) for label in LABELS]
        return Decider(name, version, cuts, [_span(negative), *band, _span(positive)])


@dataclass(frozen=True, slots=True)
class CostedAction:
    """Something that can be done.

    Attributes:
        name: Such as `rebook` or `review`.
        costs: By true label: what it costs to do this when 0, and when 1, comes true.
        label: What the action amounts to; None: whatever is more probable.
    """

    name: str
    costs: tuple[float, ...]
    label: int | None = None

    def expected(self, probability: float) -> float:
        """Expected cost where class 1 has `probability`."""
        return (1.0 - probability) * self.costs[0] + probability * self.costs[1]


@dataclass(frozen=True, slots=True)
class CostRule:
    """The action of least expected cost (Elkan, IJCAI 2001).

    An action to hold back with, such as `review`, is one more action with its own costs
    (Chow, IEEE Trans. Inf. Theory 16, 1970).
    """

    actions: tuple[CostedAction, ...]

    def __post_init__(self) -> None:
        """Refuse a matrix that is no matrix, and actions that would never be recommended.

        Raises:
            InvalidPolicy: Naming the field.
        """
        where = f"{_RULE}.costs.actions"
        if not 2 <= len(self.actions) <= MOST_ACTIONS:
            raise InvalidPolicy(where, f"must hold 2 to {MOST_ACTIONS} actions")
        for place, action in enumerate(self.actions):
            field = f"{where}[{place}]"
            if not action.name:
                raise InvalidPolicy(f"{field}.name", "is empty")
            if len(action.costs) != len(LABELS):
                raise InvalidPolicy(f"{field}.costs", "must hold two: for label 0, for label 1")
            if not all(math.isfinite(cost) for cost in action.costs):
                raise InvalidPolicy(f"{field}.costs", "must be finite numbers")
            if action.label is not None and action.label not in LABELS:
                raise InvalidPolicy(f"{field}.label", f"is {action.label}; models know {LABELS}")
        if len({action.name for action in self.actions}) != len(self.actions):
            raise InvalidPolicy(where, "names an action twice")
        used = {id(action) for _, action in self._cheapest()}
        for place, action in enumerate(self.actions):
            if id(action) not in used:
                raise InvalidPolicy(
                    f"{where}[{place}].costs", "are never the least, at no probability"
                )

    def decider(self, name: str, version: int) -> Decider:
        """See `Rule`."""
        cuts: list[float] = []
        spans: list[Span] = []
        cheapest = self._cheapest()
        ends = [*(start for start, _ in cheapest[1:]), math.inf]
        for (start, action), end in zip(cheapest, ends, strict=True):
            if spans:
                cuts.append(start)
            if action.label is not None:
                spans.append(Span(action.label, action.name))
                continue
            spans.append(Span(int(start >= _EVEN), action.name))
            if start < _EVEN < end:
                cuts.append(_EVEN)
                spans.append(Span(1, action.name))
        return Decider(name, version, cuts, spans)

    def _cheapest(self) -> list[tuple[float, CostedAction]]:
        """From which probability on which action costs least: the lower envelope of the lines."""
        probability = 0.0
        # Where costs are equal the slower growing one is cheaper right after.
        current = min(self.actions, key=lambda each: (each.costs[0], each.costs[1]))
        found = [(probability, current)]
        while True:
            # `current` is the cheapest here, so that only rounding puts a crossing behind.
            crossings = [
                (max(probability, _crossing(current, other)), other.costs[1], place)
                for place, other in enumerate(self.actions)
                if _slope(other) < _slope(current)
            ]
            probability, _, place = min(crossings, default=(1.0, 0.0, 0))
            if probability >= 1.0:
                return found
            current = self.actions[place]
            found.append((probability, current))


Rule: TypeAlias = ThresholdRule | CostRule
"""Each has `decider(name, version)`, which makes it ready."""


@dataclass(frozen=True, slots=True)
class PolicyVersion:
    """One immutable version of a policy.

    Attributes:
        meta: Name `projects/{p}/policies/{policy}/versions/{number}`; numbers count from 1.
        author: Who made it.
        purpose: Why.
    """

    meta: Meta
    author: str
    purpose: str
    rule: Rule

    @property
    def name(self) -> str:
        """Resource name."""
        return self.meta.name


@dataclass(frozen=True, slots=True)
class PolicyReference:
    """The policy version that an endpoint points at, with its rule, which never changes."""

    name: str
    rule: Rule

    def decider(self) -> Decider:
        """The version, ready to decide."""
        return self.rule.decider(self.name, int(POLICY_VERSION_NAME.id_of(self.name)))


@dataclass(frozen=True, slots=True)
class PolicyMove:
    """An endpoint was pointed at another policy.

    Attributes:
        meta: Name `{endpoint}/policyMoves/{number}`; numbers count from 1.
        before: What decided until then, by name; '' for the first.
        after: What decides from then on, by name.
        actor: Who; '' where an update of the endpoint did it.
        purpose: Why.
    """

    meta: Meta
    before: str
    after: str
    actor: str
    purpose: str


def _span(threshold: ClassThreshold) -> Span:
    return Span(threshold.label, threshold.action)


def _slope(action: CostedAction) -> float:
    return action.costs[1] - action.costs[0]


def _crossing(current: CostedAction, other: CostedAction) -> float:
    """Probability from which `other`, of a smaller slope, costs less than `current`."""
    return (other.costs[0] - current.costs[0]) / (_slope(current) - _slope(other))
