"""The smallest requests that a contract's own rules let through."""

from __future__ import annotations

import re
import uuid

from buf.validate import validate_pb2
from google.protobuf import message_factory
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from tests.contracts.descriptors import is_repeated, rules

_TEXTS = (
    "nobody",
    "projects/default",
    "nobody.parquet",
    f"sha256:{'0' * 64}",
    f"1700000000-{'0' * 32}",
)


def minimal_request(descriptor: Descriptor) -> Message:
    """A message with every required field set to the first value that its rules allow."""
    message = message_factory.GetMessageClass(descriptor)()
    for oneof in descriptor.oneofs:
        if oneof.GetOptions().Extensions[validate_pb2.oneof].required:
            _fill(message, oneof.fields[0])
    for field in descriptor.fields:
        if field.containing_oneof is None and _needs_value(field):
            _fill(message, field)
    return message


def _needs_value(field: FieldDescriptor) -> bool:
    rule = rules(field)
    if is_repeated(field):
        return rule.repeated.min_items > 0 or rule.map.min_pairs > 0
    if field.message_type is not None:
        return rule.required
    if rule.HasField("string"):
        text = rule.string
        return bool(text.uuid or text.min_len or not re.search(text.pattern, "")) or bool(
            getattr(text, "in")
        )
    return bool(rule.WhichOneof("type"))


def _fill(message: Message, field: FieldDescriptor) -> None:
    rule = rules(field)
    if is_repeated(field):
        if field.message_type is None:
            getattr(message, field.name).append(_scalar(field, rule.repeated.items))
        elif field.message_type.GetOptions().map_entry:
            getattr(message, field.name)["nobody"] = 0.5
        else:
            getattr(message, field.name).append(minimal_request(field.message_type))
    elif field.message_type is not None:
        getattr(message, field.name).CopyFrom(minimal_request(field.message_type))
        getattr(message, field.name).SetInParent()
    else:
        setattr(message, field.name, _scalar(field, rule))


def _scalar(field: FieldDescriptor, rule: validate_pb2.FieldRules) -> object:
    kind = rule.WhichOneof("type")
    limits = getattr(rule, kind) if kind else None
    match field.type:
        case FieldDescriptor.TYPE_STRING:
            return _text(rule.string)
        case FieldDescriptor.TYPE_BYTES:
            return b"x"
        case FieldDescriptor.TYPE_ENUM:
            refused = set(rule.enum.not_in)
            allowed = list(getattr(rule.enum, "in")) or field.enum_type.values_by_number
            return next(number for number in allowed if number not in refused)
        case FieldDescriptor.TYPE_BOOL:
            return False
        case _:
            if limits is None:
                return 0
            if limits.HasField("gt") and limits.HasField("lt"):
                return (limits.gt + limits.lt) / 2
            return limits.gt + 1 if limits.HasField("gt") else max(0, limits.gte)


def _text(rule: validate_pb2.StringRules) -> str:
    if rule.uuid:
        return str(uuid.uuid4())
    choices = getattr(rule, "in")
    if choices:
        return str(choices[0])
    return next(text for text in _TEXTS if re.search(rule.pattern, text))
