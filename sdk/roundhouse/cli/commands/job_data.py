"""`roundhouse jobs data`: what was found in a job's rows before it trained on them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer
from roundhouse.cli import names
from roundhouse.cli.bundle_files import json_file
from roundhouse.cli.failures import BadOutcome
from roundhouse.cli.output import OUT, print_json, print_table
from roundhouse.cli.session import Json, session_of
from roundhouse.trainer.v1.job_service_pb2 import GetTrainingJobRequest


def data(
    context: typer.Context,
    job: Annotated[str, typer.Argument(help="Job's id or resource name.")],
    as_json: Json = False,
) -> None:
    """Show what was found in the data of a job that made a version.

    Missing values, duplicates, leaks, suspicious labels, class balance. What stops a job is in its
    error; what was found so far, in its log.
    """
    session = session_of(context)
    name = names.full(session.project, "trainingJobs", job)
    with session.client() as client:
        found = client.jobs.GetTrainingJob(GetTrainingJobRequest(name=name))
        if not found.model_version:
            why = found.error.message or "the report comes with its version"
            raise BadOutcome(f"{names.short(name)} has made no version: {why}")
        report = json_file(client, found.model_version, "data.json")
    if as_json:
        print_json(report)
    else:
        _print(report)


def _print(report: dict[str, Any]) -> None:
    for finding in report["findings"]:
        OUT.print(f"{finding['kind']}: {finding['text']}", markup=False, highlight=False)
    if report["suspicious_rows"]:
        rows = ", ".join(map(str, report["suspicious_rows"]))
        OUT.print(f"look first at the labels of rows {rows}", markup=False, highlight=False)
    quantity = all(each.get("mean") is not None for each in report["balance"])
    print_table(
        ("feature", "missing", "values", "from", "to", "R² alone" if quantity else "AUC alone"),
        [
            (
                found["column"],
                f"{found['missing'] / report['rows']:.1%}",
                found["distinct"],
                _number(found["minimum"]),
                _number(found["maximum"]),
                _number(found["alone_r2"] if quantity else found["alone_auc"]),
            )
            for found in report["columns"]
        ],
        title=f"{report['rows']} rows",
    )
    print_table(
        ("rows of", "count", _shares_title(report, quantity=quantity)),
        [
            (
                f"{each['column']} = {each['value'] or '(missing)'}"
                if each["column"]
                else each["value"],
                each["rows"],
                _shares(each),
            )
            for each in report["balance"]
        ],
        title="Label" if quantity else "Class balance",
    )


def _shares_title(report: Mapping[str, Any], *, quantity: bool) -> str:
    if quantity:
        return "mean ± deviation"
    two = all(each["positive_rate"] is not None for each in report["balance"])
    return "label 1" if two else "by class"


def _shares(balance: Mapping[str, Any]) -> str:
    """How the labels of some rows are shared out."""
    if balance.get("mean") is not None:
        return f"{balance['mean']:.4g} ± {balance['deviation']:.4g}"
    if balance["positive_rate"] is not None:
        return f"{balance['positive_rate']:.1%}"
    counts = balance["class_rows"].items()
    return ", ".join(f"{name} {count / balance['rows']:.1%}" for name, count in counts)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"
