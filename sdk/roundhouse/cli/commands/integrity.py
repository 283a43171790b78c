"""`roundhouse models verify` and `restore`: whether a version's bytes are still its own."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Final

import typer
from roundhouse.cli import names
from roundhouse.cli.failures import BadOutcome, UsageFault
from roundhouse.cli.output import OUT, as_dict, print_json, print_table, state_name
from roundhouse.cli.session import Json, session_of
from roundhouse.client import Client
from roundhouse.registry.v1.model_pb2 import FileFault, ModelVersion
from roundhouse.registry.v1.model_service_pb2 import (
    GetVersionRequest,
    RestoreVersionRequest,
    VerifyVersionRequest,
)

_READING_TIMEOUT_S: Final = 600.0
"""A registry reads some 300 MB a second."""


def verify(
    context: typer.Context,
    version: Annotated[str, typer.Argument(help="MODEL/NUMBER, MODEL@ALIAS or resource name.")],
    as_json: Json = False,
) -> None:
    """Read a version's files from the store and hold them against their digests.

    Ends with 1 when a file is missing or changed; the version is then quarantined.
    """
    session = session_of(context)
    with session.client() as client:
        name = _version_name(client, session.project, version)
        answer = client.models.VerifyVersion(
            VerifyVersionRequest(name=name), timeout=_READING_TIMEOUT_S
        )
    if as_json:
        print_json(as_dict(answer))
    elif answer.faults:
        _print_faults(f"{names.short(name)} is quarantined", answer.faults)
    else:
        OUT.print(
            f"{names.short(name)} is whole: {answer.files} files, {answer.size_bytes:,} bytes."
        )
    if answer.faults:
        raise BadOutcome(
            f"{len(answer.faults)} of {answer.files} files of {names.short(name)} are damaged; "
            f"store them again: roundhouse models restore {names.short(name)} --from FOLDER"
        )


def restore(
    context: typer.Context,
    version: Annotated[str, typer.Argument(help="MODEL/NUMBER or resource name.")],
    folder: Annotated[
        Path | None,
        typer.Option("--from", help="Folder with the bundle's files, to store damaged ones again."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Take a quarantined version back into use, once its files are whole."""
    session = session_of(context)
    with session.client() as client:
        name = _version_name(client, session.project, version)
        if folder is not None:
            found = client.models.VerifyVersion(
                VerifyVersionRequest(name=name), timeout=_READING_TIMEOUT_S
            )
            for fault in found.faults:
                file = folder / fault.path
                if not file.is_file():
                    raise UsageFault(f"{folder} has no {fault.path}, which is damaged.")
                client.repair_artifact(name, fault.path, file)
        restored = client.models.RestoreVersion(
            RestoreVersionRequest(name=name), timeout=_READING_TIMEOUT_S
        )
    if as_json:
        print_json(as_dict(restored))
    else:
        state = state_name(ModelVersion.State.Name(restored.state))
        OUT.print(f"{names.short(name)} is whole and {state} again.")


def _version_name(client: Client, project: str, version: str) -> str:
    request = GetVersionRequest(name=names.version(project, version))
    return client.models.GetVersion(request).name


def _print_faults(title: str, faults: Iterable[FileFault]) -> None:
    print_table(
        ("file", "fault", "stored bytes", "committed bytes", "committed digest"),
        [
            (
                fault.path,
                state_name(FileFault.Kind.Name(fault.kind)).lower(),
                fault.actual_size_bytes,
                fault.expected_size_bytes,
                fault.expected_digest[:19],
            )
            for fault in faults
        ],
        title=title,
    )
