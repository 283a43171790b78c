"""`roundhouse models upload` and `download`: the files of versions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from roundhouse.cli import names
from roundhouse.cli.failures import UsageFault
from roundhouse.cli.output import ERR, OUT, as_dict, print_json
from roundhouse.cli.session import TRANSFER_TIMEOUTS, Json, session_of
from roundhouse.client import OnProgress, TransferProgress
from roundhouse.client.bundles import files_in
from roundhouse.client.errors import CallFailed
from roundhouse.registry.v1.model_pb2 import ModelVersion
from roundhouse.registry.v1.model_service_pb2 import BeginVersionUploadRequest, GetVersionRequest


def upload_version(
    context: typer.Context,
    folder: Annotated[
        Path, typer.Argument(exists=True, file_okay=False, help="Folder with the version's files.")
    ],
    model: Annotated[str, typer.Option(help="Model that gets the version: id or resource name.")],
    label: Annotated[
        list[str] | None, typer.Option(help="KEY=VALUE of the version; may be repeated.")
    ] = None,
    snapshot: Annotated[
        list[str] | None, typer.Option(help="Snapshot it was trained on; may be repeated.")
    ] = None,
    resume: Annotated[
        str, typer.Option(help="MODEL/NUMBER of an upload that was broken off, to go on with it.")
    ] = "",
    as_json: Json = False,
) -> None:
    """Upload a folder as a new version of a model; hidden files and manifest.json stay behind.

    A stream that breaks goes on by itself. After an interruption, --resume goes on where it was.
    """
    session = session_of(context)
    try:
        files_in(folder)
    except ValueError as error:
        raise UsageFault(f"{error}.") from error
    draft = ModelVersion(labels=_labels(label or []), snapshots=snapshot or [])
    with session.client(TRANSFER_TIMEOUTS) as client:
        if resume:
            name = names.version(session.project, resume)
        else:
            request = BeginVersionUploadRequest(
                parent=names.full(session.project, "models", model), version=draft
            )
            name = client.models.BeginVersionUpload(request).name
        try:
            with _bars("Uploading") as on_progress:
                version = client.upload_version(
                    names.model_of(name), folder, resume=name, on_progress=on_progress
                )
        except (CallFailed, KeyboardInterrupt):
            ERR.print(f"To go on, repeat the command with --resume {names.short(name)}")
            raise
    if as_json:
        print_json(as_dict(version))
    else:
        OUT.print(f"{names.short(version.name)} is ready: {version.digest}")


def download_version(
    context: typer.Context,
    version: Annotated[str, typer.Argument(help="MODEL/NUMBER, MODEL@ALIAS or resource name.")],
    to: Annotated[
        Path | None, typer.Option(file_okay=False, help="Folder; by default MODEL-NUMBER here.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Download a version's files, verified; repeated after an interruption, it goes on."""
    session = session_of(context)
    with session.client(TRANSFER_TIMEOUTS) as client:
        found = client.models.GetVersion(
            GetVersionRequest(name=names.version(session.project, version))
        )
        folder = to or Path(names.short(found.name).replace("/", "-"))
        with _bars("Downloading") as on_progress:
            client.download_version(found.name, folder, on_progress=on_progress)
    if as_json:
        print_json({"version": found.name, "digest": found.digest, "folder": str(folder)})
    else:
        OUT.print(f"{names.short(found.name)} is in {folder}: {found.digest}")


def _labels(pairs: Sequence[str]) -> dict[str, str]:
    labels = {}
    for pair in pairs:
        key, separator, value = pair.partition("=")
        if not (separator and key):
            raise UsageFault(f"--label takes KEY=VALUE, not {pair!r}.")
        labels[key] = value
    return labels


@contextmanager
def _bars(verb: str) -> Iterator[OnProgress]:
    """Draws a bar for each file on stderr."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(binary_units=True),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=ERR, transient=True) as bars:
        tasks: dict[str, TaskID] = {}

        def show(progress: TransferProgress) -> None:
            path = progress.path
            if path not in tasks:
                tasks[path] = bars.add_task(f"{verb} {path}", total=progress.size_bytes)
            bars.update(tasks[path], completed=progress.done_bytes)

        yield show
