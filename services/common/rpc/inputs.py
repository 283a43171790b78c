"""What the protos' rules can't say about the resources in requests (AIP-203, AIP-134)."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from google.protobuf.message import Message

from services.common.errors import FieldImmutable, FieldViolation, InvalidRequest


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
