"""What the protos' rules can't say about requests."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from google.protobuf.message import Message

from services.common.errors import FieldViolation
from services.common.resources import PageQuery
from services.registry.core.errors import FieldImmutable, InvalidRequest
from services.registry.core.names import PROJECT, checked


def check_settable(message: Message, field: str, settable: Collection[str]) -> None:
    """Pass only a new resource whose name and output-only fields are empty.

    Args:
        message: The resource as the caller wants it.
        field: Where in the request it stands.
        settable: The fields that a caller may set.

    Raises:
        InvalidRequest: Names every other field that is set.
    """
    violations = [
        FieldViolation(f"{field}.{descriptor.name}", "is set by the registry: leave it empty")
        for descriptor, _ in message.ListFields()
        if descriptor.name not in settable
    ]
    if violations:
        raise InvalidRequest(violations)


def masked(paths: Sequence[str], changeable: Sequence[str]) -> frozenset[str]:
    """The fields that an update mask picks; an empty one picks all.

    Raises:
        FieldImmutable: It names one that can't be changed.
    """
    for path in paths:
        if path not in changeable:
            raise FieldImmutable(path)
    return frozenset(paths or changeable)


def child_name(parent: str, collection: str, child_id: str) -> str:
    """The name of a new resource under a project, a dataset or a model."""
    return f"{parent}/{collection}/{child_id}"


def project_page(
    parent: str, *, page_size: int, page_token: str, filter_: str, order_by: str
) -> PageQuery:
    """One page of what is directly under a project.

    Raises:
        InvalidName: The parent isn't a project.
    """
    return PageQuery(checked(PROJECT, parent, "parent"), page_size, page_token, filter_, order_by)
