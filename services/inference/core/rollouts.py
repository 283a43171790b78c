"""Rollouts: a version's way into service, step by step, and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from services.common.criteria import DEFAULT_ALPHA, DEFAULT_CRITERIA, Criteria, Finding, Verdict
from services.common.names import ResourceName
from services.common.resources import Meta
from services.inference.core.errors import IllegalRolloutMove, InvalidPhases
from services.inference.core.plans import Planned, plan_digest
from services.inference.core.routing import WHOLE_BP, Variant

ROLLOUT_NAME: Final = ResourceName("projects/{project}/endpoints/{endpoint}/rollouts/{rollout}")


class State(StrEnum):
    """Where a rollout stands; see `Rollout.State` in rollout.proto."""

    PENDING = "PENDING"
    PREPARING = "PREPARING"
    RUNNING = "RUNNING"
    PAUSED = "PAUSED"
    SUCCEEDED = "SUCCEEDED"
    ROLLED_BACK = "ROLLED_BACK"
    CANCELLED = "CANCELLED"
    FAILED = "FAILED"


_NEXT: Final[Mapping[State, frozenset[State]]] = {
    State.PENDING: frozenset({State.PREPARING, State.PAUSED, State.CANCELLED, State.FAILED}),
    State.PREPARING: frozenset({State.RUNNING, State.PAUSED, State.CANCELLED, State.FAILED}),
    State.RUNNING: frozenset({State.PAUSED, State.SUCCEEDED, State.ROLLED_BACK, State.CANCELLED}),
    State.PAUSED: frozenset({State.PENDING, State.RUNNING, State.CANCELLED}),
    State.SUCCEEDED: frozenset(),
    State.ROLLED_BACK: frozenset(),
    State.CANCELLED: frozenset(),
    State.FAILED: frozenset(),
}

TERMINAL: Final = frozenset(state for state, following in _NEXT.items() if not following)


class OnInconclusive(StrEnum):
    """What follows when a phase's time is up without a verdict; see `Phase.OnInconclusive`."""

    ROLL_BACK = "ROLL_BACK"
    HOLD = "HOLD"
    GO_ON = "GO_ON"


class PhaseKind(StrEnum):
    """What a phase does with the new version; see `Phase.Kind` in rollout.proto."""

    CANARY = "CANARY"
    SHADOW = "SHADOW"
    DARK = "DARK"


@dataclass(frozen=True, slots=True)
class ShadowPlan:
    """How much is mirrored, and what has to come of it.

    Attributes:
        sample_bp: Share of the requests, 1 to 10,000 basis points.
        min_requests: Compared requests that a verdict needs.
        min_agreement: Share of them that must have the same decisions, 0 to 1.
    """

    sample_bp: int = 1_000
    min_requests: int = 1_000
    min_agreement: float = 0.0


@dataclass(frozen=True, slots=True)
class Phase:
    """One step.

    Attributes:
        weight_bp: Share of the new version, 1 to 10,000 basis points; 0 unless a canary.
        min_outcomes: Outcomes of either version that a PASS needs.
        max_duration: Longest wait for them.
        criteria: What is tested and tolerated meanwhile.
        on_inconclusive: What follows if that leads to no verdict.
        shadow: What is mirrored in a shadow phase; None in others.
    """

    weight_bp: int
    min_outcomes: int = 0
    max_duration: timedelta = timedelta(days=1)
    criteria: Criteria = DEFAULT_CRITERIA
    on_inconclusive: OnInconclusive = OnInconclusive.ROLL_BACK
    kind: PhaseKind = PhaseKind.CANARY
    shadow: ShadowPlan | None = None

    def as_plan(self) -> dict[str, Planned]:
        """See `PlannedPhase`."""
        plan: dict[str, Planned] = {
            "weight_basis_points": self.weight_bp,
            "min_outcomes": self.min_outcomes,
            "max_duration_s": self.max_duration.total_seconds(),
        }
        # Plans from before there were criteria, or other kinds, keep their digests.
        if self.criteria != DEFAULT_CRITERIA:
            plan["criteria"] = _planned(self.criteria)
        if self.on_inconclusive is not OnInconclusive.ROLL_BACK:
            plan["on_inconclusive"] = self.on_inconclusive
        if self.kind is not PhaseKind.CANARY:
            plan["kind"] = self.kind.value
        if self.shadow is not None:
            plan["sample_basis_points"] = self.shadow.sample_bp
            plan["min_requests"] = self.shadow.min_requests
            plan["min_agreement"] = self.shadow.min_agreement
        return plan

    def ends_well(self, verdict: Verdict | None) -> bool:
        """Whether the rollout goes on after the phase ended so."""
        if verdict is Verdict.INCONCLUSIVE:
            return self.on_inconclusive is OnInconclusive.GO_ON
        return verdict is Verdict.PASS


DEFAULT_PHASES: Final = (Phase(500), Phase(5_000), Phase(WHOLE_BP))


@dataclass(frozen=True, slots=True)
class PhaseOutcome:
    """What a begun phase came to.

    Attributes:
        end_time: None while it runs.
        verdict: None while it runs.
        numbers: How much evidence there was.
        findings: What each test found.
    """

    phase: int
    start_time: datetime
    end_time: datetime | None = None
    verdict: Verdict | None = None
    reason: str = ""
    numbers: Mapping[str, float] = field(default_factory=dict)
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True, slots=True)
class Judgement:
    """What the monitor says of a phase."""

    verdict: Verdict
    reason: str
    numbers: Mapping[str, float] = field(default_factory=dict)
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True, slots=True)
class Rollout:
    """One version's way into service at one endpoint.

    Attributes:
        endpoint: Resource name.
        digest: Of the version's manifest, when the rollout was created.
        previous_version: The stable version it takes over from.
        outcomes: One per begun phase; the last is the present one.
        deadline: When the present step ends without a result.
        paused_at: Since when it is held; None if it is not.
        correlation_id: Episode that it belongs to; '' if a person began it.
        causation_id: The latest event about it: what its next event follows from.
        restored_plan: Where it brings a version back: digest of the plan by which that version
            came; else empty.
    """

    meta: Meta
    endpoint: str
    version: str
    digest: str
    approval: str
    phases: tuple[Phase, ...]
    previous_version: str
    state: State = State.PENDING
    outcomes: tuple[PhaseOutcome, ...] = ()
    message: str = ""
    rollback_of: str = ""
    rolled_back_by: str = ""
    deadline: datetime | None = None
    paused_at: datetime | None = None
    correlation_id: str = ""
    causation_id: str = ""
    restored_plan: str = ""

    @property
    def plan_digest(self) -> str:
        """Of the plan that an approval of its version must allow."""
        return self.restored_plan or plan_digest(self.phases)

    @property
    def name(self) -> str:
        """Resource name."""
        return self.meta.name

    @property
    def is_over(self) -> bool:
        """Whether no further state can follow."""
        return self.state in TERMINAL

    @property
    def current_phase(self) -> int:
        """Index of the phase begun last; 0 before the first."""
        return max(0, len(self.outcomes) - 1)

    @property
    def has_passed(self) -> bool:
        """Whether every phase ended well, so that only the promotion is left."""
        if len(self.outcomes) < len(self.phases):
            return False
        return self.phases[-1].ends_well(self.outcomes[-1].verdict)

    def criteria(self, phase: int) -> Criteria:
        """Of a phase, with its share of the rollout's chance of a false rollback."""
        criteria = self.phases[phase].criteria
        if criteria.alpha is not None:
            return criteria
        return replace(criteria, alpha=DEFAULT_ALPHA / len(self.phases))

    def candidate(self) -> Variant:
        """The version as a variant of the endpoint, with the share of the phase begun last."""
        share = self.phases[self.current_phase].weight_bp if self.outcomes else 0
        return Variant(self.version, self.digest, share)

    @property
    def shadow_report(self) -> str:
        """Name of the report of the phase begun last, if it is a shadow phase."""
        return f"{self.name}/shadows/{self.current_phase}"

    def moved_to(self, state: State, message: str = "") -> Rollout:
        """This rollout in `state`.

        Raises:
            IllegalRolloutMove: The life cycle has no such move.
        """
        if state not in _NEXT[self.state]:
            raise IllegalRolloutMove(self.name, self.state, state)
        return replace(self, state=state, message=message)

    def preparing(self, deadline: datetime) -> Rollout:
        """This rollout with its version being loaded, until `deadline`."""
        return replace(self.moved_to(State.PREPARING), deadline=deadline)

    def phase_begun(self, now: datetime) -> Rollout:
        """This rollout in its next phase."""
        phase = len(self.outcomes)
        running = self if self.state is State.RUNNING else self.moved_to(State.RUNNING)
        return replace(
            running,
            outcomes=(*self.outcomes, PhaseOutcome(phase, now)),
            deadline=now + self.phases[phase].max_duration,
        )

    def phase_ended(self, judgement: Judgement, now: datetime) -> Rollout:
        """This rollout with the present phase judged.

        Raises:
            IllegalRolloutMove: No phase is under way.
        """
        if self.state is not State.RUNNING or self.has_passed:
            raise IllegalRolloutMove(self.name, self.state, "judged")
        ended = replace(
            self.outcomes[-1],
            end_time=now,
            verdict=judgement.verdict,
            reason=judgement.reason,
            numbers=judgement.numbers,
            findings=judgement.findings,
        )
        return replace(self, outcomes=(*self.outcomes[:-1], ended))

    def held(self, judgement: Judgement, now: datetime) -> Rollout:
        """This rollout, paused in the present phase, which has as long again once resumed."""
        so_far = replace(
            self.outcomes[-1],
            reason=judgement.reason,
            numbers=judgement.numbers,
            findings=judgement.findings,
        )
        phase = self.phases[self.current_phase]
        return replace(
            self.moved_to(State.PAUSED, f"held for a person: {judgement.reason}"),
            outcomes=(*self.outcomes[:-1], so_far),
            paused_at=now,
            deadline=now + phase.max_duration,
        )

    def paused(self, now: datetime) -> Rollout:
        """This rollout, held as it is."""
        return replace(self.moved_to(State.PAUSED, "paused"), paused_at=now)

    def resumed(self, now: datetime) -> Rollout:
        """This rollout where it was held; the time it was held does not count.

        Raises:
            IllegalRolloutMove: It is not paused.
        """
        if self.paused_at is None:
            raise IllegalRolloutMove(self.name, self.state, State.RUNNING)
        state = State.RUNNING if self.outcomes else State.PENDING
        deadline = None if self.deadline is None else self.deadline + (now - self.paused_at)
        return replace(self.moved_to(state), paused_at=None, deadline=deadline)


def check_phases(phases: Sequence[Phase]) -> None:
    """Accept phases whose shares grow up to the whole traffic, and those without one before.

    Raises:
        InvalidPhases: They don't.
    """
    for phase in phases:
        _check_phase(phase)
    kinds = [phase.kind is PhaseKind.CANARY for phase in phases]
    if kinds != sorted(kinds):
        raise InvalidPhases("shadow and dark phases come before the first share of the traffic")
    weights = [phase.weight_bp for phase in phases if phase.kind is PhaseKind.CANARY]
    if not weights or weights[-1] != WHOLE_BP:
        raise InvalidPhases("the last must have 10000 basis points")
    if weights != sorted(set(weights)):
        raise InvalidPhases("each must have a larger share than the one before")


def _check_phase(phase: Phase) -> None:
    is_canary = phase.kind is PhaseKind.CANARY
    if is_canary and not 1 <= phase.weight_bp <= WHOLE_BP:
        raise InvalidPhases("a share is not between 1 and 10000 basis points")
    if not is_canary and (phase.weight_bp or phase.min_outcomes):
        raise InvalidPhases(
            f"a {phase.kind.lower()} phase has no share of the traffic, and so no outcomes"
        )
    if not is_canary and phase.criteria != DEFAULT_CRITERIA:
        raise InvalidPhases(f"a {phase.kind.lower()} phase is not judged by criteria")
    if (phase.shadow is not None) != (phase.kind is PhaseKind.SHADOW):
        raise InvalidPhases("a shadow phase, and no other, says what is mirrored")
    if phase.max_duration <= timedelta(0):
        raise InvalidPhases("a duration is not above zero")


def _planned(criteria: Criteria) -> dict[str, Planned]:
    plan = asdict(criteria)
    if criteria.slow_after is not None:
        plan["slow_after"] = criteria.slow_after.total_seconds()
    return {**plan, "slices": list(criteria.slices)}
