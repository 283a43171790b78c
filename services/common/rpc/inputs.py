"""What requests ask for, and what their protos' rules can't say (AIP-132, 134 and 203)."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Protocol

from google.protobuf.message import Message

from services.common.errors import FieldImmutable, FieldViolation, InvalidRequest
from services.common.names import ResourceName
from services.common.resources import PageQuery


class ListRequest(Protocol):
    """The fields that every list request has (AIP-132)."""

    @property
    def parent(self) -> str:
        """Resource name."""

    @property
    def page_size(self) -> int:
        """Most items wanted."""

    @property
    def page_token(self) -> str:
        """Of the page before."""


def page_query(request: ListRequest, within: ResourceName | None = None) -> PageQuery:
    """The page that a list request asks for, by filter and order where it has them.

    Args:
        request: Any list request.
        within: Kind of its parent, where nothing else looks at it.

    Raises:
        InvalidName: The parent is of another kind.
    """
    if within is not None:
        within.parse(request.parent, field="parent")
    return PageQuery(
        request.parent,
        request.page_size,
        request.page_token,
        getattr(request, "filter", ""),
        getattr(request, "order_by", ""),
    )


def check_settable(message: Message, field: str, settable: Collection[str]) -> None:
    """Pass only a resource of which nothing but `settable` is set.

    Args:
        message: The resource as the caller wants it.
        field: Where in the request it stands.
        settable: The fields that a caller may set.

    Raises:
        InvalidRequest: Names every other field that is set.
    """
    violations = [
        FieldViolation(f"{field}.{descriptor.name}", "is set by the service: leave it empty")
        for descriptor, _ in message.ListFields()
        if descriptor.name not in settable
    ]
    if violations:
        raise InvalidRequest(violations)


def masked(paths: Sequence[str], changeable: Collection[str]) -> frozenset[str]:
    """The fields that an update mask picks; an empty one picks all.

    Raises:
        FieldImmutable: It names one that can't be changed.
    """
    for path in paths:
        if path not in changeable:
            raise FieldImmutable(path, "update_mask")
    return frozenset(paths or changeable)
