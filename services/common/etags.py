"""Etags: a resource's revision in a form that clients send back unread."""

from __future__ import annotations

from services.common.errors import Conflict


class EtagMismatch(Conflict):
    """The caller's copy of the resource is not the present one."""

    reason = "ETAG_MISMATCH"

    def __init__(self, name: str, etag: str, current: str) -> None:
        super().__init__(
            f"{name!r} has changed: its etag is {current}, not {etag}. Read it again, then retry.",
            name=name,
            etag=etag,
            current=current,
        )


def etag_of(uid: str, revision: int) -> str:
    """The etag of the resource `uid` after `revision` writes."""
    return f"{uid[:8]}-{revision}"


def check_etag(name: str, given: str, current: str) -> None:
    """Let the write pass if `given` is empty or `current`.

    Raises:
        EtagMismatch: A concurrent writer came first.
    """
    if given and given != current:
        raise EtagMismatch(name, given, current)
