"""`roundhouse predict`: one request to an endpoint."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer
from roundhouse.cli import names
from roundhouse.cli.failures import UsageFault
from roundhouse.cli.output import print_json, print_table
from roundhouse.cli.session import Json, session_of
from roundhouse.client import PredictOptions
from roundhouse.client.predictions import Row, Value


def predict(
    context: typer.Context,
    endpoint: Annotated[str, typer.Argument(help="Endpoint's id.")],
    values: Annotated[
        list[str] | None,
        typer.Argument(help="COLUMN=VALUE of one row; those left out are missing."),
    ] = None,
    rows: Annotated[
        Path | None,
        typer.Option(help="File with a JSON object or a list of them; - is the standard input."),
    ] = None,
    version: Annotated[str, typer.Option(help="Pin a version by its number.")] = "",
    sticky_key: Annotated[str, typer.Option(help="Same key, same variant.")] = "",
    as_json: Json = False,
) -> None:
    """Ask an endpoint about one row, or about the rows of a file."""
    session = session_of(context)
    if (rows is None) == (not values):
        raise UsageFault("Give either COLUMN=VALUE pairs or --rows FILE.")
    inputs = _rows_of(rows) if rows is not None else [_row_of(values or [])]
    with session.client() as client:
        answer = client.predict(
            endpoint, inputs, PredictOptions(version=version, sticky_key=sticky_key)
        )
    listed = [
        {
            "id": answer.row_id(i),
            "probability": round(float(answer.scores[i]), 6),
            "label": int(answer.labels[i]),
            "confidence": round(float(answer.confidences[i]), 6),
            "action": answer.actions[i],
        }
        for i in range(len(answer.scores))
    ]
    if as_json:
        print_json(
            {
                "model_version": answer.model_version,
                "model_digest": answer.model_digest,
                "policy_version": answer.policy_version,
                "policy": answer.policy,
                "rows": listed,
            }
        )
        return
    print_table(
        ("id", "probability", "label", "confidence", "action"),
        [tuple(row.values()) for row in listed],
        title=f"{endpoint} answered with {names.short(answer.model_version)}",
    )


def _row_of(pairs: list[str]) -> Row:
    row: dict[str, Value] = {}
    for pair in pairs:
        column, separator, text = pair.partition("=")
        if not separator:
            raise UsageFault(f"Write COLUMN=VALUE, not {pair!r}.")
        row[column] = _value(text)
    return row


def _value(text: str) -> Value:
    try:
        return float(text)
    except ValueError:
        return text


def _rows_of(file: Path) -> list[Row]:
    text = sys.stdin.read() if str(file) == "-" else file.read_text()
    try:
        parsed = json.loads(text)
    except ValueError as error:
        raise UsageFault(f"{file} is no JSON: {error}.") from error
    listed = [parsed] if isinstance(parsed, dict) else parsed
    if not isinstance(listed, list) or not all(isinstance(row, dict) for row in listed):
        raise UsageFault(f"{file} holds neither a JSON object nor a list of them.")
    return listed
