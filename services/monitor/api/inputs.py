"""What the protos' rules can't say about requests."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from google.protobuf.message import Message

from services.common.errors import FieldViolation
from services.monitor.core.errors import FieldImmutable, InvalidRequest


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
        FieldViolation(f"{field}.{descriptor.name}", "is set by the monitor: leave it empty")
        for descriptor, _ in message.ListFields()
        if descriptor.name not in settable
    ]
    if violations:
        raise InvalidRequest(violations)


def masked(paths: Sequence[str], changeable: Mapping[str, str]) -> frozenset[str]:
    """The attributes that an update mask picks; an empty one picks all.

    Args:
        paths: Of the mask.
        changeable: Attribute of each field that can be changed.

    Raises:
        FieldImmutable: It names one that can't be changed.
    """
    for path in paths:
        if path not in changeable:
            raise FieldImmutable(path)
    return frozenset(changeable[path] for path in paths or changeable)
