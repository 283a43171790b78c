"""Answers that were given, by request id, so that a repeat gets the first one again (AIP-155)."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import Connection, bindparam, select

from services.common.errors import AlreadyExists
from services.common.store.tables import REQUEST

RETENTION: Final = timedelta(days=7)
"""How long an answer is kept; the contract promises 24 h, a weekend's outage needs more."""


_STORED: Final = select(REQUEST.c.fingerprint, REQUEST.c.response).where(
    REQUEST.c.request_id == bindparam("request_id")
)
_DROP_OLD: Final = REQUEST.delete().where(REQUEST.c.create_time < bindparam("oldest"))
_REMEMBER: Final = REQUEST.insert()


class RequestIdReused(AlreadyExists):
    """The request id belongs to another request."""

    reason = "REQUEST_ID_REUSED"

    def __init__(self, request_id: str) -> None:
        super().__init__(
            f"Request id {request_id} was used for a request with other content; "
            "make a new UUID for each new request.",
            request_id=request_id,
        )


def replay(connection: Connection, request_id: str, fingerprint: str) -> bytes | None:
    """The answer given to `request_id` before, or None if it is new.

    Args:
        connection: The transaction.
        request_id: UUID of the request.
        fingerprint: Digest over the method and the request's content.

    Raises:
        RequestIdReused: The id was used with other content.
    """
    row = connection.execute(_STORED, {"request_id": request_id}).one_or_none()
    if row is None:
        return None
    if row.fingerprint != fingerprint:
        raise RequestIdReused(request_id)
    return bytes(row.response)


def remember(
    connection: Connection, request_id: str, fingerprint: str, response: bytes, now: datetime
) -> None:
    """Keep the answer in the transaction of the change, and drop those past retention."""
    connection.execute(_DROP_OLD, {"oldest": now - RETENTION})
    connection.execute(
        _REMEMBER,
        {
            "request_id": request_id,
            "fingerprint": fingerprint,
            "response": response,
            "create_time": now,
        },
    )
