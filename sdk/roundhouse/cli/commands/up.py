"""`roundhouse up`: the suite on this machine."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Annotated

import typer
from roundhouse.cli.output import ERR, OUT
from roundhouse.cli.session import Session, session_of
from roundhouse.cli.supervisor.signals import run_until_signal
from roundhouse.cli.supervisor.suite import (
    FIRST_PORT,
    Ports,
    free_ports,
    given_ports,
    running_suite,
)
from roundhouse.cli.views.suite import print_addresses, report_exit


def up(
    context: typer.Context,
    first_port: Annotated[
        int,
        typer.Option(
            min=1024,
            max=65000,
            help="First of four; metrics are 100 and the dashboard 200 above.",
        ),
    ] = FIRST_PORT,
    any_ports: Annotated[
        bool, typer.Option("--free-ports", help="Take any free ports instead.")
    ] = False,
) -> None:
    """Start the four services and keep them alive until Ctrl-C.

    Data, logs and addresses are kept in the data folder; other commands find the services there.
    """
    ports = free_ports() if any_ports else given_ports(first_port)
    run_until_signal(_serve(session_of(context), ports))


async def _serve(session: Session, ports: Ports) -> None:
    data_dir = session.data_dir
    async with running_suite(data_dir, ports, on_exit=partial(report_exit, ERR)) as suite:
        with ERR.status("Starting the four services"):
            await suite.wait_serving()
        print_addresses(suite, ports)
        OUT.print("Ctrl-C stops them.")
        await asyncio.Event().wait()
