"""What a person sees of the supervised services."""

from __future__ import annotations

from rich.console import Console
from roundhouse.cli.output import OUT, print_table
from roundhouse.cli.supervisor.process import ProcessExit
from roundhouse.cli.supervisor.suite import Ports, Suite
from roundhouse.client import SERVICES


def print_addresses(suite: Suite, ports: Ports) -> None:
    """Where each service is, and who can reach it."""
    print_table(
        ("service", "gRPC", "metrics"),
        [
            (
                service,
                suite.addresses.of(service),
                f"http://127.0.0.1:{ports[service].metrics}/metrics",
            )
            for service in SERVICES
        ],
        title="Loopback only, without authentication: anyone on this machine may call them.",
    )
    for own in ports.values():
        if own.dashboard is not None:
            OUT.print(f"Dashboard: http://127.0.0.1:{own.dashboard}/", highlight=False)
    OUT.print(f"Data and logs: {suite.data_dir}", highlight=False)


def report_exit(console: Console, exited: ProcessExit) -> None:
    """One line about a service that died."""
    how = (
        f"was killed by signal {-exited.exit_code}"
        if exited.exit_code < 0
        else f"ended with {exited.exit_code}"
    )
    console.print(
        f"[yellow]The {exited.service} {how}; starting it again in {exited.restart_in_s:g} s."
    )
