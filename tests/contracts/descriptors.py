"""The contracts as protobuf describes them, read from the generated code."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path

from buf.validate import validate_pb2
from google.protobuf.descriptor import (
    Descriptor,
    EnumDescriptor,
    FieldDescriptor,
    FileDescriptor,
    MethodDescriptor,
)
from google.protobuf.descriptor_pb2 import MethodOptions

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("common", "registry", "trainer", "inference", "monitor")
SERVICES = PACKAGES[1:]


def files(package: str) -> list[FileDescriptor]:
    """The .proto files of one package, such as `registry`."""
    folder = ROOT / "protos" / "roundhouse" / package / "v1"
    return [
        importlib.import_module(f"roundhouse.{package}.v1.{path.stem}_pb2").DESCRIPTOR
        for path in sorted(folder.glob("*.proto"))
    ]


def methods(*packages: str) -> list[MethodDescriptor]:
    """Every RPC of the packages, or of all of them."""
    return [
        method
        for package in packages or PACKAGES
        for file in files(package)
        for service in file.services_by_name.values()
        for method in service.methods
    ]


def messages() -> list[Descriptor]:
    """Every message of every package, nested ones included, map entries left out."""
    return [
        message
        for package in PACKAGES
        for file in files(package)
        for outer in file.message_types_by_name.values()
        for message in _with_nested(outer)
    ]


def enums() -> list[EnumDescriptor]:
    """Every enum of every package."""
    outer = [
        enum
        for package in PACKAGES
        for file in files(package)
        for enum in file.enum_types_by_name.values()
    ]
    nested = [enum for message in messages() for enum in message.enum_types_by_name.values()]
    return outer + nested


def reads_only(method: MethodDescriptor) -> bool:
    """Whether the contract marks the method as free of side effects."""
    return method.GetOptions().idempotency_level == MethodOptions.NO_SIDE_EFFECTS


def rules(field: FieldDescriptor) -> validate_pb2.FieldRules:
    """The protovalidate rules of a field; empty without any."""
    return field.GetOptions().Extensions[validate_pb2.field]


def is_repeated(field: FieldDescriptor) -> bool:
    """Whether the field is a list or a map."""
    return field.is_repeated


def reasons(package: str) -> set[str]:
    """The error reasons of a package's contract, without their prefix."""
    module = importlib.import_module(f"roundhouse.{package}.v1.errors_pb2")
    prefix = "ERROR_REASON_"
    return {
        name.removeprefix(prefix)
        for name, number in module.ErrorReason.items()
        if number != module.ERROR_REASON_UNSPECIFIED
    }


def _with_nested(message: Descriptor) -> Iterator[Descriptor]:
    if message.GetOptions().map_entry:
        return
    yield message
    for nested in message.nested_types:
        yield from _with_nested(nested)
