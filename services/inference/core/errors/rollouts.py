"""What is refused about rollouts, shadow reports and drills."""

from __future__ import annotations

from services.common.errors import (
    AlreadyExists,
    FailedPrecondition,
    FieldViolation,
    InvalidArgument,
    NotFound,
    PreconditionViolation,
)


class RolloutNotFound(NotFound):
    """No rollout has this name."""

    reason = "ROLLOUT_NOT_FOUND"

    def __init__(self, name: str) -> None:
        super().__init__(f"Rollout {name!r} does not exist.", name=name)


class ShadowReportNotFound(NotFound):
    """No shadow report has this name."""

    reason = "SHADOW_REPORT_NOT_FOUND"

    def __init__(self, name: str) -> None:
        super().__init__(f"Shadow report {name!r} does not exist.", name=name)


class DrillNotFound(NotFound):
    """No drill has this name."""

    reason = "DRILL_NOT_FOUND"

    def __init__(self, name: str) -> None:
        super().__init__(f"Drill {name!r} does not exist.", name=name)


class DrillRunning(FailedPrecondition):
    """The endpoint has a drill under way."""

    reason = "DRILL_RUNNING"

    def __init__(self, endpoint: str, drill: str) -> None:
        text = f"{drill!r} is under way at {endpoint!r}; it ends by itself."
        super().__init__(
            text,
            violations=[PreconditionViolation("DRILL", endpoint, text)],
            name=endpoint,
            drill=drill,
        )


class RolloutExists(AlreadyExists):
    """Another request created this rollout."""

    reason = "ROLLOUT_EXISTS"

    def __init__(self, name: str) -> None:
        super().__init__(f"Rollout {name!r} already exists.", name=name)


class InvalidPhases(InvalidArgument):
    """The rollout's phases do not lead up to the whole traffic."""

    reason = "INVALID_PHASES"

    def __init__(self, description: str) -> None:
        super().__init__(
            f"The phases are wrong: {description}",
            violations=[FieldViolation("phases", description)],
        )


class IllegalRolloutMove(FailedPrecondition):
    """The rollout's life cycle has no such move."""

    reason = "ILLEGAL_STATE_TRANSITION"

    def __init__(self, name: str, current: str, requested: str) -> None:
        super().__init__(
            f"Rollout {name!r} is {current}; it can't become {requested}.",
            violations=[PreconditionViolation("STATE", name, f"{current} is not left for this")],
            name=name,
            current=current,
            requested=requested,
        )


class RolloutInProgress(FailedPrecondition):
    """The endpoint already has a rollout under way."""

    reason = "ROLLOUT_ACTIVE"

    def __init__(self, endpoint: str, rollout: str) -> None:
        super().__init__(
            f"Rollout {rollout!r} of endpoint {endpoint!r} is under way; wait for it or cancel it.",
            violations=[PreconditionViolation("STATE", rollout, "a rollout is under way")],
            name=endpoint,
            rollout=rollout,
        )


class NothingToRollBackTo(FailedPrecondition):
    """The endpoint holds no earlier version."""

    reason = "NO_ROLLBACK_TARGET"

    def __init__(self, endpoint: str) -> None:
        super().__init__(
            f"Endpoint {endpoint!r} holds no earlier version to go back to.", name=endpoint
        )


class VersionNotApproved(FailedPrecondition):
    """The approval does not cover this version's artifact."""

    reason = "APPROVAL_INVALID"

    def __init__(self, version: str, approval: str, description: str, *, cause: str) -> None:
        super().__init__(
            f"{approval or 'No approval'} does not allow {version} to roll out: {description}",
            violations=[PreconditionViolation(cause, version, description)],
            version=version,
            approval=approval,
            cause=cause,
        )


class AliasElsewhere(FailedPrecondition):
    """Somebody moved the alias that an endpoint keeps."""

    reason = "ALIAS_ELSEWHERE"

    def __init__(self, alias: str, version: str) -> None:
        super().__init__(
            f"Alias {alias!r} points at {version or 'nothing'}, which this endpoint did not serve.",
            violations=[PreconditionViolation("ALIAS", alias, f"it points at {version}")],
            alias=alias,
            version=version,
        )
