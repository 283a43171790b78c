"""`roundhouse models fairness`: what a version decides for groups of rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final

import typer
from roundhouse.cli.bundle_files import asked_for
from roundhouse.cli.output import print_json, print_table
from roundhouse.cli.session import Json, session_of

_RATES: Final = {
    "selection_rate": "decided 1",
    "true_positive_rate": "of label 1",
    "false_positive_rate": "of label 0",
    "precision": "precision",
    "calibration_bias": "promised too much",
}

Content = Mapping[str, Any]  # of a file


def fairness_command(
    context: typer.Context,
    version: Annotated[
        str, typer.Argument(help="MODEL/NUMBER, MODEL@ALIAS or resource name of a version.")
    ],
    as_json: Json = False,
) -> None:
    """Show what a version decides for groups of the rows it was tested on, and how far apart.

    Of a version whose job asked for `fairness`. With 95 % intervals; "by chance" is how far apart
    groups of these sizes are by luck alone, in 19 of 20 draws.
    """
    name, fairness = asked_for(session_of(context), version, "fairness")
    if as_json:
        print_json(fairness)
        return
    for column in fairness["columns"]:
        _print_column(name, fairness["threshold"], column)


def _print_column(version: str, threshold: float, column: Content) -> None:
    print_table(
        (column["column"], "rows", *_RATES.values()),
        [
            (
                group["value"] or "(missing)",
                group["rows"],
                *(_estimate(group["estimates"].get(name)) for name in _RATES),
            )
            for group in column["groups"]
        ],
        title=f"{version}: decided 1 from a probability of {threshold:g} on",
    )
    print_table(
        (f"between groups of {column['column']}", "value", "by chance", "lowest", "highest"),
        [
            (
                name.replace("_", " "),
                _estimate(found),
                found["by_chance"],
                found["lowest"] or "(missing)",
                found["highest"] or "(missing)",
            )
            for name, found in column["disparities"].items()
        ],
        title=_title(column["left_out"]),
    )


def _title(left_out: Mapping[str, int]) -> str:
    small = ", ".join(f"{value or '(missing)'} ({rows})" for value, rows in left_out.items())
    return f"How far apart; left out for their few rows: {small}" if small else "How far apart"


def _estimate(found: Content | None) -> str:
    if found is None:
        return ""
    return f"{found['value']:.3f} ({found['low']:.3f} to {found['high']:.3f})"
