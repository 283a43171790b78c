"""Messages as files that people write: YAML or JSON, with the short names of enum values."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import yaml
from google.protobuf.descriptor import EnumDescriptor, FieldDescriptor
from google.protobuf.json_format import MessageToDict, ParseDict, ParseError
from google.protobuf.message import Message
from roundhouse.cli.failures import UsageFault

M = TypeVar("M", bound=Message)

Document: TypeAlias = Any  # what YAML or JSON holds has no narrower type
Fields: TypeAlias = Any  # protobuf's descriptor of a message: either of its two implementations


def read_document(path: Path, message: M) -> M:
    """The message that a file describes, by the contract's field names.

    Enum values are written in lower case without their prefix: `at_least` for
    `COMPARISON_AT_LEAST`.

    Raises:
        UsageFault: It is no YAML or JSON, or has a field or value that the contract hasn't.
    """
    try:
        document = yaml.safe_load(path.read_text())
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UsageFault(f"{path} is neither YAML nor JSON: {error}") from error
    if not isinstance(document, dict):
        raise UsageFault(f"{path} holds no fields; see docs/promotion.md for an example.")
    try:
        return ParseDict(_renamed(document, message.DESCRIPTOR, _long), message)
    except ParseError as error:
        raise UsageFault(f"{path}: {error}") from error


def document_of(message: Message) -> Document:
    """The document that `read_document` would read as `message`."""
    fields = MessageToDict(message, preserving_proto_field_name=True)
    return _renamed(fields, message.DESCRIPTOR, _short)


def as_yaml(document: Document) -> str:
    """The document for people."""
    text: str = yaml.safe_dump(document, sort_keys=False, allow_unicode=True)
    return text


def _renamed(
    document: Document, descriptor: Fields, rename: Callable[[EnumDescriptor, str], str]
) -> Document:
    if not isinstance(document, dict):
        return document
    return {
        name: _renamed_field(value, descriptor.fields_by_name[name], rename)
        if name in descriptor.fields_by_name
        else value
        for name, value in document.items()
    }


def _renamed_field(
    value: Document, field: FieldDescriptor, rename: Callable[[EnumDescriptor, str], str]
) -> Document:
    if isinstance(value, list):
        return [_renamed_field(each, field, rename) for each in value]
    if field.enum_type is not None and isinstance(value, str):
        return rename(field.enum_type, value)
    if field.message_type is not None:
        return _renamed(value, field.message_type, rename)
    return value


def _prefix(enum: EnumDescriptor) -> str:
    return enum.values_by_number[0].name.removesuffix("UNSPECIFIED")


def _long(enum: EnumDescriptor, value: str) -> str:
    name = f"{_prefix(enum)}{value.upper()}"
    return name if name in enum.values_by_name else value


def _short(enum: EnumDescriptor, value: str) -> str:
    return value.removeprefix(_prefix(enum)).lower()
