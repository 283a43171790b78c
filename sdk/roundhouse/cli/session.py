"""What every command needs: where the services are, which project, and how to print."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Final, TypeAlias

import typer
from roundhouse.cli.failures import UsageFault
from roundhouse.cli.supervisor.suite import ADDRESSES_FILE
from roundhouse.client import SERVICES, Addresses, Client, Timeouts

TIMEOUTS: Final = Timeouts(unary_s=10.0, away_s=2.0)
"""How long a person waits for one answer, or for a service to come back, before hearing of it."""

TRANSFER_TIMEOUTS: Final = Timeouts(unary_s=10.0, away_s=30.0)
"""The same where files travel: long work is worth waiting for a service that restarts."""

Json: TypeAlias = Annotated[
    bool, typer.Option("--json", help="Print JSON for programs; streams print one object a line.")
]
Actor: TypeAlias = Annotated[str, typer.Option(help="Who does it.", show_default="you")]
Reason: TypeAlias = Annotated[str, typer.Option(help="Why, for the record.")]


@dataclass(frozen=True, slots=True)
class Session:
    """The options that stand before the command."""

    addresses: Addresses
    project: str
    data_dir: Path

    def client(self, timeouts: Timeouts = TIMEOUTS) -> Client:
        """A client with the command line's patience."""
        return Client(self.addresses, timeouts=timeouts)


def session_of(context: typer.Context) -> Session:
    """The session that the options before the command describe."""
    session = context.find_object(Session)
    if session is None:
        raise AssertionError("every command runs below the root callback")
    return session


def resolve_addresses(data_dir: Path, overrides: Sequence[str]) -> Addresses:
    """The addresses of the suite that runs in `data_dir`, else the defaults, with `overrides`.

    Args:
        data_dir: Where `roundhouse up` wrote down where the services are.
        overrides: `SERVICE=HOST:PORT` each.

    Raises:
        UsageFault: An override is not of that form.
    """
    file = data_dir / ADDRESSES_FILE
    addresses = Addresses(**json.loads(file.read_text())) if file.exists() else Addresses()
    for override in overrides:
        service, separator, address = override.partition("=")
        if service not in SERVICES or not separator or ":" not in address:
            raise UsageFault(
                f"--address takes SERVICE=HOST:PORT with one of {', '.join(SERVICES)}, "
                f"not {override!r}."
            )
        addresses = replace(addresses, **{service: address})
    return addresses
