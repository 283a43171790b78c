"""What a command can end with, for scripts and for people."""

from __future__ import annotations

import enum
from typing import Final

from roundhouse.client import CallFailed, InvalidInput
from roundhouse.client.errors import (
    AlreadyExists,
    Conflict,
    DeadlineExceeded,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    Unavailable,
)


class Exit(enum.IntEnum):
    """Exit codes."""

    OK = 0
    FAILED = 1
    USAGE = 2
    UNAVAILABLE = 3
    NOT_FOUND = 4
    REFUSED = 5
    FAULT = 6
    INTERRUPTED = 130


EXIT_CODES_HELP: Final = (
    "Exit codes: 0 done; 1 the outcome is bad (a job failed, a rollout went back); "
    "2 the command or a value is wrong; 3 a service is away; 4 there is no such thing; "
    "5 the service refused (state, approval, conflict, permission); 6 a service has a fault; "
    "130 interrupted."
)


class UsageFault(Exception):
    """The command line is wrong; the text says what to write instead."""


class BadOutcome(Exception):
    """What was watched came to a bad end, or what was asked for does not hold."""


def exit_of(error: CallFailed | InvalidInput) -> Exit:
    """The exit code for a failed call."""
    match error:
        case InvalidArgument() | InvalidInput():
            return Exit.USAGE
        case Unavailable() | DeadlineExceeded():
            return Exit.UNAVAILABLE
        case NotFound():
            return Exit.NOT_FOUND
        case (
            FailedPrecondition()
            | AlreadyExists()
            | Conflict()
            | PermissionDenied()
            | ResourceExhausted()
        ):
            return Exit.REFUSED
        case _:
            return Exit.FAULT


def sentence_of(error: CallFailed | InvalidInput) -> str:
    """What happened and what to do."""
    match error:
        case Unavailable():
            return f"No answer: {_one_line(str(error))}. Start the suite with: roundhouse up"
        case DeadlineExceeded():
            return "No answer in time. See how the services are with: roundhouse status"
        case Conflict():
            return f"{error} Read it again and repeat the command."
        case CallFailed(failure=failure) if failure.precondition_violations:
            listed = "; ".join(each.description for each in failure.precondition_violations)
            return f"{error} ({listed})"
        case _:
            return str(error)


def _one_line(text: str) -> str:
    return " ".join(text.split()).rstrip(".")
