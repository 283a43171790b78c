"""Long proofs by name: `python -m tests.system.soak kills --rounds 3`.

A proof is a module with `add_arguments(parser)` and `prove(arguments)`, which prints
its table and gives the violations that it found. A new one is a line in `PROOFS`.
"""

from __future__ import annotations

import argparse
import sys
from importlib import import_module
from typing import Final, Protocol, cast

from rich.console import Console

PROOFS: Final = {
    "aliases": "tests.system.proofs.aliases",
    "approvals": "tests.system.proofs.approvals",
    "attribution": "tests.system.proofs.attribution",
    "conformance": "tests.system.proofs.conformance",
    "corruption": "tests.system.proofs.corruption",
    "false-alarms": "tests.system.proofs.false_alarms",
    "faults": "tests.system.proofs.faults",
    "fuzz": "tests.system.proofs.fuzz",
    "kills": "tests.system.proofs.kills",
    "public-data": "tests.system.proofs.public_data",
    "registry-kills": "tests.system.proofs.registry_kills",
    "rollbacks": "tests.system.proofs.rollbacks",
    "runaway": "tests.system.proofs.runaway",
    "slice-drift": "tests.system.proofs.slice_drift",
    "swaps": "tests.system.proofs.swaps",
    "verdicts": "tests.system.proofs.verdicts",
    "workers": "tests.system.proofs.workers",
}
"""Module of each proof; loaded only when it runs."""


class Proof(Protocol):
    """What a proof's module has."""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare what can be chosen; each with a default."""
        ...

    def prove(self, arguments: argparse.Namespace) -> list[str]:
        """Run it, print its table, and give what was violated."""
        ...


def main(given: list[str] | None = None) -> int:
    """Run the proof that the arguments name; 0 when nothing was violated."""
    parser = argparse.ArgumentParser(prog="soak", description=__doc__, add_help=False)
    parser.add_argument("name", choices=sorted(PROOFS))
    chosen, rest = parser.parse_known_args(given)
    proof = cast("Proof", import_module(PROOFS[chosen.name]))
    parser = argparse.ArgumentParser(prog=f"soak {chosen.name}", description=proof.__doc__)
    proof.add_arguments(parser)
    violations = proof.prove(parser.parse_args(rest))
    console = Console()
    for violation in violations:
        console.print(f"[red]violated[/]: {violation}", highlight=False)
    return bool(violations)


if __name__ == "__main__":
    sys.exit(main())
