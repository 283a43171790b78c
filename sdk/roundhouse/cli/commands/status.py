"""`roundhouse status`: whether the services serve."""

from __future__ import annotations

import asyncio
import time
from dataclasses import asdict, dataclass

import typer
from roundhouse.cli.failures import Exit
from roundhouse.cli.output import print_json, print_table
from roundhouse.cli.session import Json, session_of
from roundhouse.cli.supervisor.health import is_serving
from roundhouse.client import SERVICES, Addresses, ServiceName


@dataclass(frozen=True, slots=True)
class ServiceStatus:
    """One service's answer to a health check."""

    service: ServiceName
    address: str
    serving: bool
    answer_ms: float


def status(context: typer.Context, as_json: Json = False) -> None:
    """Show which services serve; exit code 3 if one does not."""
    session = session_of(context)
    statuses = asyncio.run(_statuses(session.addresses))
    if as_json:
        print_json([asdict(each) for each in statuses])
    else:
        print_table(
            ("service", "address", "serving", "answered in ms"),
            [(each.service, each.address, each.serving, each.answer_ms) for each in statuses],
        )
    if not all(each.serving for each in statuses):
        raise typer.Exit(Exit.UNAVAILABLE)


async def _statuses(addresses: Addresses) -> list[ServiceStatus]:
    return list(await asyncio.gather(*(_status(name, addresses.of(name)) for name in SERVICES)))


async def _status(service: ServiceName, address: str) -> ServiceStatus:
    started = time.perf_counter()
    serving = await is_serving(address)
    answer_ms = round((time.perf_counter() - started) * 1e3, 1)
    return ServiceStatus(service, address, serving, answer_ms)
