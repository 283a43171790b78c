"""`python -m benchmarks NAME [--quick]`: measures, prints a table, writes results/NAME.json."""

from __future__ import annotations

import argparse
import importlib
from pathlib import Path

from benchmarks.harness import RESULTS, Benchmark, publish

_FOLDER = Path(__file__).resolve().parent


def main() -> None:
    """Run the benchmark that the arguments name."""
    names = sorted(path.parent.name for path in _FOLDER.glob("*/measure.py"))
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__)
    parser.add_argument("name", choices=names)
    parser.add_argument("--quick", action="store_true", help="at most 60 seconds")
    arguments = parser.parse_args()
    benchmark: Benchmark = importlib.import_module(f"benchmarks.{arguments.name}.measure").measure
    report = benchmark(quick=arguments.quick)
    publish(report, RESULTS / f"{arguments.name}.json")


if __name__ == "__main__":
    main()
