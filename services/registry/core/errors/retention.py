"""What is refused about pins, holds and garbage collections."""

from __future__ import annotations

from services.common.errors import (
    AlreadyExists,
    FailedPrecondition,
    NotFound,
    PreconditionViolation,
    Unavailable,
)


class PinNotFound(NotFound):
    """No pin has this name."""

    reason = "PIN_NOT_FOUND"

    def __init__(self, name: str) -> None:
        super().__init__(f"There is no pin {name!r}.", name=name)


class PinExists(AlreadyExists):
    """The pin's name is taken by one of another target or holder."""

    reason = "PIN_EXISTS"

    def __init__(self, name: str, target: str, holder: str) -> None:
        super().__init__(
            f"Pin {name!r} keeps {target!r} for {holder!r} already; choose another id.",
            name=name,
            target=target,
            holder=holder,
        )


class HoldNotFound(NotFound):
    """No hold has this name."""

    reason = "HOLD_NOT_FOUND"

    def __init__(self, name: str) -> None:
        super().__init__(f"There is no hold {name!r}.", name=name)


class HoldReleased(FailedPrecondition):
    """The hold is over already."""

    reason = "HOLD_RELEASED"

    def __init__(self, name: str, released_by: str) -> None:
        text = f"{name!r} was released by {released_by!r} already."
        super().__init__(
            text,
            violations=[PreconditionViolation("STATE", name, text)],
            name=name,
            released_by=released_by,
        )


class Retained(FailedPrecondition):
    """A pin or hold keeps it."""

    reason = "RETAINED"

    def __init__(self, name: str, keeper: str) -> None:
        text = f"{keeper!r} keeps {name!r}."
        super().__init__(
            text,
            violations=[PreconditionViolation("KEPT", keeper, text)],
            name=name,
            keeper=keeper,
        )


class PrivacyHeld(FailedPrecondition):
    """Nothing may be made from the snapshot's rows."""

    reason = "PRIVACY_HOLD"

    def __init__(self, name: str, hold: str) -> None:
        text = f"{name!r} is under the privacy hold {hold!r}: nothing may be made from its rows."
        super().__init__(
            text, violations=[PreconditionViolation("HOLD", hold, text)], name=name, hold=hold
        )


class CollectionPlanNotFound(NotFound):
    """No plan of a garbage collection has this name."""

    reason = "COLLECTION_PLAN_NOT_FOUND"

    def __init__(self, name: str) -> None:
        super().__init__(f"There is no collection plan {name!r}.", name=name)


class CollectionPlanExpired(FailedPrecondition):
    """The plan was not run in time."""

    reason = "COLLECTION_PLAN_EXPIRED"

    def __init__(self, name: str, expire_time: str) -> None:
        text = f"{name!r} expired at {expire_time}: make a new plan."
        super().__init__(
            text,
            violations=[PreconditionViolation("STATE", name, text)],
            name=name,
            expire_time=expire_time,
        )


class BytesCollected(FailedPrecondition):
    """A garbage collection has removed the bytes; the record stays."""

    reason = "BYTES_COLLECTED"

    def __init__(self, name: str, plan: str, time: str) -> None:
        text = f"The bytes of {name!r} were removed by {plan!r} at {time}."
        super().__init__(
            text,
            violations=[PreconditionViolation("STATE", name, text)],
            name=name,
            plan=plan,
            time=time,
        )


class ContentCondemned(Unavailable):
    """The content is being collected, or the upload's claim on it has run out."""

    reason = "CONTENT_CONDEMNED"

    def __init__(self, digest: str, *, retry_after_s: float) -> None:
        super().__init__(
            f"{digest} is being collected, or the upload has lost its claim on it: upload again.",
            retry_after_s=retry_after_s,
            digest=digest,
        )
