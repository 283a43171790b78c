"""Printing: tables for people, JSON for programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC
from typing import Any, Final, TypeAlias

from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from rich.console import Console
from rich.table import Table

PIPED_WIDTH: Final = 160
"""Columns where no terminal says how wide it is; Rich's 80 would cut tables short in files."""


def _console(*, stderr: bool) -> Console:
    stream = sys.stderr if stderr else sys.stdout
    return Console(stderr=stderr, width=None if stream.isatty() else PIPED_WIDTH)


OUT: Final = _console(stderr=False)
ERR: Final = _console(stderr=True)

JsonValue: TypeAlias = Any  # a JSON document has no narrower type


def as_dict(message: Message) -> JsonValue:
    """The message with the contract's own field names; zero values are there, unset ones not."""
    return MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )


def print_json(value: JsonValue) -> None:
    """One JSON document, indented."""
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def print_json_line(value: JsonValue) -> None:
    """One JSON document of a stream, on a line of its own, at once."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False) + "\n")
    sys.stdout.flush()


def print_table(
    columns: Sequence[str], rows: Iterable[Sequence[object]], *, title: str = ""
) -> None:
    """A table; numbers stand to the right. Without rows it says so."""
    table = Table(title=title or None, title_justify="left", header_style="bold")
    listed = [list(row) for row in rows]
    for i, column in enumerate(columns):
        is_number = bool(listed) and all(isinstance(row[i], int | float) for row in listed)
        table.add_column(column, justify="right" if is_number else "left")
    for row in listed:
        table.add_row(*(cell(value) for value in row))
    OUT.print(table if listed else f"{title or 'The list'}: nothing yet.")


def cell(value: object) -> str:
    """One value as people read it."""
    match value:
        case bool():
            return "yes" if value else "no"
        case float():
            return f"{value:.4g}"
        case int():
            return f"{value:,}"
        case _:
            return str(value)


def when(timestamp: Timestamp) -> str:
    """Date and time in UTC to the second; empty when unset."""
    if not timestamp.seconds:
        return ""
    return f"{timestamp.ToDatetime(tzinfo=UTC):%Y-%m-%d %H:%M:%S}"


def day(timestamp: Timestamp) -> str:
    """Date in UTC."""
    return f"{timestamp.ToDatetime(tzinfo=UTC):%Y-%m-%d}"


def state_name(enum_name: str) -> str:
    """`RUNNING` for `STATE_RUNNING`."""
    return enum_name.removeprefix("STATE_").removeprefix("VERDICT_").removeprefix("KIND_")
