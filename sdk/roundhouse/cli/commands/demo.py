"""`roundhouse demo`: one model's whole life on a year of real flights."""

from __future__ import annotations

import asyncio
import shutil
import time
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from roundhouse.cli.failures import BadOutcome
from roundhouse.cli.output import ERR, OUT
from roundhouse.cli.session import session_of
from roundhouse.cli.supervisor.signals import run_until_signal
from roundhouse.cli.supervisor.suite import free_ports, running_suite
from roundhouse.cli.views.suite import print_addresses, report_exit
from roundhouse.client import SERVICES, AsyncClient
from roundhouse.demo.resources import ALGORITHMS
from roundhouse.demo.run import DAYS_PER_S, LAST_MONTH, Demo, DemoOptions, StepFailed


def demo(
    context: typer.Context,
    report: Annotated[Path, typer.Option(help="File that gets the facts as JSON.")] = Path(
        "demo-report.json"
    ),
    serve: Annotated[
        bool, typer.Option("--serve", help="Leave the services running afterwards, until Ctrl-C.")
    ] = False,
    last_month: Annotated[
        int, typer.Option(min=3, max=12, help="Month of 2013 that the replay ends with.")
    ] = LAST_MONTH,
    days_per_second: Annotated[
        float, typer.Option(min=0.01, max=1000, help="Speed of the clock.")
    ] = DAYS_PER_S,
    algorithm: Annotated[
        list[str] | None,
        typer.Option(help="Candidate of each training; may be repeated. Default: all five."),
    ] = None,
) -> None:
    """Take a model round its whole life: trained on real flights, served, watched, retrained.

    Starts the four services on free ports of this machine in a folder of its own, which an
    earlier demo's is removed for. Takes about five minutes.
    """
    data_dir = session_of(context).data_dir / "demo"
    options = DemoOptions(
        data_dir=data_dir,
        report_file=report.absolute(),
        last_month=last_month,
        days_per_s=days_per_second,
        algorithms=tuple(algorithm) if algorithm else ALGORITHMS,
    )
    run_until_signal(_demonstrate(options, serve=serve))


async def _demonstrate(options: DemoOptions, *, serve: bool) -> None:
    for name in (*SERVICES, "logs", "first-version"):
        shutil.rmtree(options.data_dir / name, ignore_errors=True)
    ports = free_ports()
    start = time.monotonic()
    OUT.print("[bold]1. start the four services[/bold]")
    async with running_suite(options.data_dir, ports, on_exit=partial(report_exit, ERR)) as suite:
        await suite.wait_serving()
        print_addresses(suite, ports)
        async with AsyncClient(suite.addresses) as client:
            demonstration = Demo(client, OUT, options)
            demonstration.began(time.monotonic() - start)
            try:
                await demonstration.run()
            except StepFailed as failure:
                raise BadOutcome(str(failure)) from failure
        if serve:
            OUT.print("The services go on; Ctrl-C stops them.")
            await asyncio.Event().wait()
