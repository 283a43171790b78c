"""Mutations of artifact, evidence, plan, approver and expiry, each refused with its own reason."""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.support.approval_mutations import prove_cases

_CONSOLE = Console()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """How many cases are tried."""
    parser.add_argument(
        "--examples", type=int, default=1200, help="cases, one in ten unchanged (default 1200)"
    )


def prove(arguments: argparse.Namespace) -> list[str]:
    """Try the cases against a real registry and print what was refused with which reason."""
    with tempfile.TemporaryDirectory(prefix="roundhouse-soak-") as folder:
        try:
            answered = prove_cases(Path(folder), arguments.examples)
        except AssertionError as violation:
            return [str(violation)]
    table = Table("change", "answer", "cases", title="Approvals, mutated")
    for (label, reason), cases in sorted(answered.items()):
        table.add_row(label, reason or "accepted", str(cases))
    refused = sum(cases for (_, reason), cases in answered.items() if reason)
    table.add_row("all that were changed", "refused", str(refused))
    _CONSOLE.print(table)
    return []
