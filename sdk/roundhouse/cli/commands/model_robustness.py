"""`roundhouse models robustness`: what a version loses when rows come otherwise."""

from __future__ import annotations

from typing import Annotated

import typer
from roundhouse.cli.bundle_files import asked_for
from roundhouse.cli.output import print_json, print_table
from roundhouse.cli.session import Json, session_of


def robustness_command(
    context: typer.Context,
    version: Annotated[
        str, typer.Argument(help="MODEL/NUMBER, MODEL@ALIAS or resource name of a version.")
    ],
    as_json: Json = False,
) -> None:
    """Show what noise, missing features, unseen words, numbers out of range and typos cost.

    Of a version whose job asked for `robustness`: the worst features of each check, on rows of the
    validation part that had taught the model nothing.
    """
    name, found = asked_for(session_of(context), version, "robustness")
    if as_json:
        print_json(found)
        return
    decides = all("flipped" in told for told in found["checks"].values())
    print_table(
        (
            "check",
            "feature",
            f"{found['metric']} worse by",
            *(["decisions turned"] if decides else []),
        ),
        [
            (
                check.replace("_", " "),
                each["feature"] or "(all)",
                f"{each['fall']:+.4f}",
                *([f"{each['flipped']:.1%}"] if decides else []),
            )
            for check, told in found["checks"].items()
            for each in told["worst"]
        ],
        title=(
            f"{name}: {found['rows']} rows of the validation part, noise of {found['noise']:g} "
            f"deviations; other rows beside it change {found['order_difference']:.1e} at most"
        ),
    )
