"""Checks messages against the rules in their protos."""

from __future__ import annotations

from typing import Any

import protovalidate
from google.protobuf.message import Message

from services.common.rpc.status import invalid_request

_BUF_VALIDATE_EXTENSION = 1159  # number of buf.validate's options on messages, fields and oneofs


class RequestValidator:
    """Refuses messages that break their proto's rules; costs nothing where there are none."""

    def __init__(self) -> None:
        self._validator = protovalidate.Validator()
        self._ruled: dict[str, bool] = {}

    def check(self, message: Message) -> None:
        """Let a valid message pass.

        Raises:
            InvalidRequest: Names every violation at once.
        """
        name = message.DESCRIPTOR.full_name
        ruled = self._ruled.get(name)
        if ruled is None:
            ruled = self._ruled[name] = _has_rules(message.DESCRIPTOR, set())
        if ruled:
            violations = self._validator.collect_violations(message)
            if violations:
                raise invalid_request(violations)


# The descriptors of protobuf's C and Python implementations share no type.
def _has_rules(descriptor: Any, seen: set[str]) -> bool:
    seen.add(descriptor.full_name)
    described = [descriptor, *descriptor.fields, *descriptor.oneofs]
    if any(
        option.number == _BUF_VALIDATE_EXTENSION
        for element in described
        for option, _ in element.GetOptions().ListFields()
    ):
        return True
    return any(
        field.message_type.full_name not in seen and _has_rules(field.message_type, seen)
        for field in descriptor.fields
        if field.message_type is not None
    )
