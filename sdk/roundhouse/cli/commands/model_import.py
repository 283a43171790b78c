"""`roundhouse models import`: a model that was trained elsewhere."""

from __future__ import annotations

import getpass
import re
import sys
from pathlib import Path
from typing import Annotated, Final

import typer
from roundhouse.cli import names
from roundhouse.cli.failures import UsageFault
from roundhouse.cli.output import ERR, OUT, as_dict, print_json
from roundhouse.cli.session import Json, session_of
from roundhouse.client.imports import (
    ImportableModel,
    NotImportable,
    Provenance,
    import_model,
    read_model,
)

_UNKNOWN: Final = "unknown"
_SNAPSHOT: Final = re.compile(r"^(?P<dataset>[a-z][a-z0-9-]*)/(?P<snapshot>[a-z0-9-]+)$")


def import_command(
    context: typer.Context,
    path: Annotated[
        Path, typer.Argument(help="ONNX file, or directory of an MLflow model with ONNX flavour.")
    ],
    model: Annotated[str, typer.Option(help="Model that gets the version, by id.")],
    source: Annotated[str, typer.Option(help="Where it came from, such as a URI.")] = "",
    snapshot: Annotated[
        str, typer.Option(help="DATASET/SNAPSHOT that it was trained on, if that is here.")
    ] = "",
    unknown_data_by: Annotated[
        str, typer.Option(help="Who declares that its training data is unknown.")
    ] = "",
    license_: Annotated[
        str, typer.Option("--license", help="Terms, such as Apache-2.0 or proprietary.")
    ] = "",
    owner: Annotated[str, typer.Option(help="Who answers for it.")] = "",
    no_input: Annotated[
        bool, typer.Option("--no-input", help="Never ask; fail where something is missing.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Register a model that was trained elsewhere, after it has run on a row here.

    What lineage needs and no file tells is asked for on a terminal, and taken from the options
    otherwise.
    """
    session = session_of(context)
    if snapshot and unknown_data_by:
        raise UsageFault("Give either --snapshot or --unknown-data-by, not both.")
    try:
        importable = read_model(path)
    except NotImportable as error:
        raise UsageFault(str(error)) from error
    given = {
        "source": source,
        "data": snapshot or unknown_data_by,
        "license": license_,
        "owner": owner,
    }
    missing = [name for name, value in given.items() if not value]
    if missing:
        if no_input or not sys.stdin.isatty():
            raise UsageFault(_missing(missing, importable))
        answers = _asked(missing, importable)
        source, license_ = answers.get("source", source), answers.get("license", license_)
        owner = answers.get("owner", owner)
        snapshot = answers.get("snapshot", snapshot)
        unknown_data_by = answers.get("unknown_data_by", unknown_data_by)
    provenance = Provenance(
        source=source,
        license=license_,
        owner=owner,
        snapshot=_full_snapshot(session.project, snapshot) if snapshot else "",
        unknown_data_declared_by=unknown_data_by,
    )
    with session.client() as client:
        version = import_model(
            client, names.full(session.project, "models", model), importable, provenance
        )
    if as_json:
        print_json({"version": as_dict(version), "notes": list(importable.notes)})
        return
    OUT.print(f"{names.short(version.name)} {version.digest}", markup=False)
    for note in importable.notes:
        ERR.print(f"Registered, but no endpoint can serve it as it is: {note}.", markup=False)


_FLAGS: Final = {
    "source": "--source",
    "data": "--snapshot or --unknown-data-by",
    "license": "--license",
    "owner": "--owner",
}


def _missing(missing: list[str], importable: ImportableModel) -> str:
    hint = ""
    if "source" in missing and importable.suggested_source:
        hint = f" Its files suggest: --source {importable.suggested_source}"
    return f"Missing: {', '.join(_FLAGS[name] for name in missing)}.{hint}"


def _asked(missing: list[str], importable: ImportableModel) -> dict[str, str]:
    answers: dict[str, str] = {}
    for name in missing:
        match name:
            case "source":
                default = importable.suggested_source or None
                answers["source"] = typer.prompt("Where did it come from (URI)", default=default)
            case "data":
                text = "Trained on which snapshot (DATASET/SNAPSHOT, or 'unknown')"
                told = typer.prompt(text, default=_UNKNOWN)
                if told == _UNKNOWN:
                    answers["unknown_data_by"] = typer.prompt(
                        "Who declares that the data is unknown", default=getpass.getuser()
                    )
                else:
                    answers["snapshot"] = told
            case "license":
                answers["license"] = typer.prompt("License")
            case _:
                answers["owner"] = typer.prompt("Who answers for it", default=getpass.getuser())
    return answers


def _full_snapshot(project: str, name: str) -> str:
    if name.startswith("projects/"):
        return name
    match = _SNAPSHOT.match(name)
    if match is None:
        raise UsageFault(f"{name!r} names no snapshot; write DATASET/SNAPSHOT.")
    dataset = names.full(project, "datasets", match["dataset"])
    return f"{dataset}/snapshots/{match['snapshot']}"
