"""What the monitor refuses, one class per reason of errors.proto."""

from __future__ import annotations

from datetime import datetime

from services.common.errors import (
    AlreadyExists,
    FailedPrecondition,
    FieldViolation,
    InvalidArgument,
    NotFound,
    PreconditionViolation,
)


class MonitorNotFound(NotFound):
    """No monitor has this name."""

    reason = "MONITOR_NOT_FOUND"

    def __init__(self, name: str) -> None:
        super().__init__(f"There is no monitor {name!r}.", name=name)


class MonitorExists(AlreadyExists):
    """The monitor id is taken, or the endpoint is watched already.

    Args:
        name: The monitor that is in the way.
        endpoint: The endpoint it watches.
    """

    reason = "MONITOR_EXISTS"

    def __init__(self, name: str, endpoint: str) -> None:
        super().__init__(
            f"{name!r} exists already and watches {endpoint!r}.", name=name, endpoint=endpoint
        )


class EpisodeActive(FailedPrecondition):
    """An episode of the monitor is under way."""

    reason = "EPISODE_ACTIVE"

    def __init__(self, name: str, episode: str) -> None:
        text = f"{episode!r} of {name!r} is under way; wait until it is over."
        super().__init__(
            text,
            violations=[PreconditionViolation("STATE", episode, text)],
            name=name,
            episode=episode,
        )


class ReportNotFound(NotFound):
    """No report has this name."""

    reason = "REPORT_NOT_FOUND"

    def __init__(self, name: str) -> None:
        super().__init__(f"There is no report {name!r}.", name=name)


class PolicyNotFound(NotFound):
    """No retrain policy has this name."""

    reason = "POLICY_NOT_FOUND"

    def __init__(self, name: str) -> None:
        super().__init__(f"There is no retrain policy {name!r}.", name=name)


class PolicyExists(AlreadyExists):
    """The policy id is taken."""

    reason = "POLICY_EXISTS"

    def __init__(self, name: str) -> None:
        super().__init__(f"Retrain policy {name!r} exists already.", name=name)


class DryRunTooLong(InvalidArgument):
    """The range holds more judged windows than one dry run goes through.

    Args:
        windows: That it goes through at most.
    """

    reason = "DRY_RUN_TOO_LONG"

    def __init__(self, windows: int) -> None:
        text = f"holds more than {windows:,} judged windows; ask for a shorter time"
        super().__init__(
            f"The range {text}.",
            violations=[FieldViolation("end_time", text)],
            windows=str(windows),
        )


class EpisodeNotFound(NotFound):
    """No episode has this name."""

    reason = "EPISODE_NOT_FOUND"

    def __init__(self, name: str) -> None:
        super().__init__(f"There is no episode {name!r}.", name=name)


class DecisionNotFound(NotFound):
    """No retrain decision has this name."""

    reason = "DECISION_NOT_FOUND"

    def __init__(self, name: str) -> None:
        super().__init__(f"There is no retrain decision {name!r}.", name=name)


class InvalidBatch(InvalidArgument):
    """The Arrow batch can't be read, or a column of it is missing or wrong.

    Args:
        batch_id: Of the batch.
        problem: What is wrong, as a clause.
        column: Where; empty if the whole batch can't be read.
    """

    reason = "INVALID_BATCH"

    def __init__(self, batch_id: str, problem: str, column: str = "") -> None:
        text = f"Batch {batch_id!r} can't be stored: {problem}."
        super().__init__(
            text,
            violations=[FieldViolation("arrow_stream", text)],
            batch_id=batch_id,
            column=column,
        )


class IllegalTransition(FailedPrecondition):
    """The life cycle has no such move."""

    reason = "ILLEGAL_STATE_TRANSITION"

    def __init__(self, name: str, current: str, requested: str) -> None:
        super().__init__(
            f"{name!r} is {current}; it can't become {requested}.",
            name=name,
            current=current,
            requested=requested,
        )


class NoTrainingRows(FailedPrecondition):
    """No observation with an outcome falls into the window."""

    reason = "NO_TRAINING_ROWS"

    def __init__(self, monitor: str) -> None:
        super().__init__(
            f"No observation of {monitor!r} in this time has an outcome yet.", monitor=monitor
        )


class PrivacyHeld(FailedPrecondition):
    """The registry has a privacy hold on a snapshot with the same rows."""

    reason = "PRIVACY_HOLD"

    def __init__(self, snapshot: str, hold: str) -> None:
        text = f"{snapshot!r} is under the privacy hold {hold!r}: nothing may be made of its rows."
        super().__init__(
            text,
            violations=[PreconditionViolation("HOLD", hold, text)],
            snapshot=snapshot,
            hold=hold,
        )


class EndpointNotFound(NotFound):
    """Nothing is known of the endpoint."""

    reason = "ENDPOINT_NOT_FOUND"

    def __init__(self, endpoint: str) -> None:
        super().__init__(f"Nothing is known of {endpoint!r}.", endpoint=endpoint)


class SloNotFound(NotFound):
    """No objective has this name."""

    reason = "SLO_NOT_FOUND"

    def __init__(self, name: str) -> None:
        super().__init__(f"There is no SLO {name!r}.", name=name)


class SloExists(AlreadyExists):
    """The objective id is taken."""

    reason = "SLO_EXISTS"

    def __init__(self, name: str) -> None:
        super().__init__(f"SLO {name!r} exists already.", name=name)


class AlertNotFound(NotFound):
    """No alert has this name."""

    reason = "ALERT_NOT_FOUND"

    def __init__(self, name: str) -> None:
        super().__init__(f"There is no alert {name!r}.", name=name)


class AlertResolved(FailedPrecondition):
    """The alert is over."""

    reason = "ALERT_RESOLVED"

    def __init__(self, name: str) -> None:
        text = f"{name!r} is resolved; there is nothing left to do about it."
        super().__init__(text, violations=[PreconditionViolation("STATE", name, text)], name=name)


class NobodyToEscalateTo(FailedPrecondition):
    """The alert is a page already, and nobody else can be told."""

    reason = "NOBODY_TO_ESCALATE_TO"

    def __init__(self, name: str) -> None:
        text = (
            f"{name!r} is a page already, and there is no receiver above those who are told of "
            "every alert; ROUNDHOUSE_MONITOR_ALERT_ESCALATION_FILE names some."
        )
        super().__init__(
            text, violations=[PreconditionViolation("RECEIVER", name, text)], name=name
        )


class BudgetNotKept(FailedPrecondition):
    """What a budget of that time would count is forgotten by now."""

    reason = "BUDGET_NOT_KEPT"

    def __init__(self, name: str, end: datetime) -> None:
        text = f"The events that {name!r} counted up to {end:%Y-%m-%d %H:%M} are not kept any more."
        super().__init__(
            text,
            violations=[PreconditionViolation("STATE", name, text)],
            name=name,
            end_time=end.isoformat(),
        )
