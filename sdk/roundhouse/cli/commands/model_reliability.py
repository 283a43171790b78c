"""`roundhouse models reliability`: whether a version's probabilities keep their promise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Final

import typer
from roundhouse.cli import names
from roundhouse.cli.failures import BadOutcome
from roundhouse.cli.output import as_dict, print_json, print_table
from roundhouse.cli.paging import every
from roundhouse.cli.session import Json, session_of
from roundhouse.registry.v1.evaluation_pb2 import Evaluation
from roundhouse.registry.v1.evaluation_service_pb2 import ListEvaluationsRequest
from roundhouse.registry.v1.model_service_pb2 import GetVersionRequest

_WIDTH: Final = 40


def reliability_command(
    context: typer.Context,
    version: Annotated[
        str, typer.Argument(help="MODEL/NUMBER, MODEL@ALIAS or resource name of a version.")
    ],
    split: Annotated[str, typer.Option(help="Part of the snapshot that was scored.")] = "test",
    as_json: Json = False,
) -> None:
    """Show what a version promised and what came true, by probability.

    For a version with a calibration, before and after it.
    """
    session = session_of(context)
    with session.client() as client:
        found = client.models.GetVersion(
            GetVersionRequest(name=names.version(session.project, version))
        )
        request = ListEvaluationsRequest(parent=found.name)
        listed = [
            each
            for each in every(client.evaluations.ListEvaluations, request, "evaluations")
            if each.split == split and each.reliability
        ]
    if not listed:
        raise BadOutcome(
            f"No evaluation of {names.short(found.name)} on {split!r} says how reliable it is."
        )
    newest = max(listed, key=lambda each: each.create_time.ToNanoseconds())
    if as_json:
        print_json(as_dict(newest))
        return
    title = f"{names.short(found.name)} on {split}"
    if newest.HasField("uncalibrated"):
        before = newest.uncalibrated
        _print_reliability(f"{title}, before calibration", before.metrics, before.reliability)
        title += ", calibrated"
    _print_reliability(title, newest.metrics, newest.reliability)


def _print_reliability(
    title: str, metrics: Mapping[str, float], bins: Sequence[Evaluation.ReliabilityBin]
) -> None:
    told = ", ".join(
        f"{label} {metrics[metric]:.4f}"
        for metric, label in (("calibration_error", "calibration error"), ("brier", "Brier score"))
        if metric in metrics
    )
    print_table(
        ("from", "to", "rows", "promised", "came true", "█ came true, | promised"),
        [
            (each.lower, each.upper, each.rows, each.mean_score, each.frequency, picture(each))
            for each in bins
        ],
        title=f"{title}: {told or f'{sum(each.rows for each in bins)} rows'}",
    )


def picture(point: Evaluation.ReliabilityBin) -> str:
    """A bar as long as what came true, with a mark where the promise is."""
    bar = "█" * round(point.frequency * _WIDTH)
    mark = min(round(point.mean_score * _WIDTH), _WIDTH - 1)
    line = bar.ljust(_WIDTH, "·")
    return f"{line[:mark]}|{line[mark + 1 :]}"
