"""`roundhouse data`: snapshots, and who has seen their test sets."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.progress import Progress
from roundhouse.cli import names
from roundhouse.cli.failures import UsageFault
from roundhouse.cli.output import ERR, as_dict, day, print_json, print_table
from roundhouse.cli.paging import every
from roundhouse.cli.session import Json, session_of
from roundhouse.cli.views.promotion import print_touches
from roundhouse.client import Client
from roundhouse.client.errors import AlreadyExists
from roundhouse.registry.v1.dataset_pb2 import Dataset, DatasetSnapshot
from roundhouse.registry.v1.dataset_service_pb2 import (
    CreateDatasetRequest,
    CreateSnapshotRequest,
    SealSnapshotRequest,
    UploadSnapshotFileRequest,
)
from roundhouse.registry.v1.evaluation_service_pb2 import ListTestSetTouchesRequest

app = typer.Typer(help="Import data as immutable snapshots.", no_args_is_help=True)

_Header = UploadSnapshotFileRequest.Header
_FORMATS: Final = {
    ".parquet": _Header.FORMAT_PARQUET,
    ".csv": _Header.FORMAT_CSV,
}


@app.callback()
def data() -> None:
    """Import data as immutable snapshots."""


@app.command("import")
def import_files(
    context: typer.Context,
    files: Annotated[
        list[Path], typer.Argument(exists=True, dir_okay=False, help="Parquet or CSV files.")
    ],
    dataset: Annotated[str, typer.Option(help="Dataset; made if there is none of that name.")],
    snapshot: Annotated[str, typer.Option(help="Id of the new snapshot.")],
    key: Annotated[
        list[str] | None, typer.Option(help="Column that identifies a row; may be repeated.")
    ] = None,
    required: Annotated[
        list[str] | None, typer.Option(help="Column that must have a value; may be repeated.")
    ] = None,
    time_column: Annotated[str, typer.Option(help="Column with each row's event time.")] = "",
    source: Annotated[str, typer.Option(help="Where the data is from, for the record.")] = "",
    as_json: Json = False,
) -> None:
    """Import files as one sealed snapshot, and report what cleaning and profiling found."""
    session = session_of(context)
    for file in files:
        if file.suffix not in _FORMATS:
            raise UsageFault(f"{file} is neither .parquet nor .csv.")
    draft = DatasetSnapshot(
        key_columns=key or [],
        required_columns=required or [],
        time_column=time_column,
        source=source or ", ".join(file.name for file in files),
    )
    with session.client() as client:
        ensure_dataset(client, session.project, dataset)
        sealed = import_snapshot(
            client, names.full(session.project, "datasets", dataset), snapshot, draft, files
        )
    if as_json:
        print_json(as_dict(sealed))
    else:
        print_snapshot(sealed)


@app.command()
def ledger(
    context: typer.Context,
    only: Annotated[
        str,
        typer.Option("--filter", help="AIP-160 filter, such as 'purpose = TEST'."),
    ] = "",
    as_json: Json = False,
) -> None:
    """List who has looked at which test sets, and what for, newest first."""
    session = session_of(context)
    request = ListTestSetTouchesRequest(parent=names.parent(session.project), filter=only)
    with session.client() as client:
        touches = list(every(client.evaluations.ListTestSetTouches, request, "touches"))
    if as_json:
        print_json([as_dict(touch) for touch in touches])
    else:
        print_touches(touches)


def ensure_dataset(client: Client, project: str, dataset_id: str, description: str = "") -> str:
    """The dataset's resource name; it is created if it is not there."""
    request = CreateDatasetRequest(
        parent=names.parent(project),
        dataset_id=dataset_id,
        dataset=Dataset(description=description),
        request_id=str(uuid.uuid4()),
    )
    try:
        return client.datasets.CreateDataset(request).name
    except AlreadyExists:
        return names.full(project, "datasets", dataset_id)


def import_snapshot(
    client: Client, dataset: str, snapshot_id: str, draft: DatasetSnapshot, files: list[Path]
) -> DatasetSnapshot:
    """Uploads the files into a new snapshot and seals it, with a progress bar on stderr."""
    opened = client.datasets.CreateSnapshot(
        CreateSnapshotRequest(parent=dataset, snapshot_id=snapshot_id, snapshot=draft)
    )
    with Progress(console=ERR, transient=True) as progress:
        for file in progress.track(files, description="Importing"):
            client.upload_snapshot_file(opened.name, file, _FORMATS[file.suffix])
    return client.datasets.SealSnapshot(SealSnapshotRequest(name=opened.name))


def print_snapshot(snapshot: DatasetSnapshot) -> None:
    """What came in, what was dropped, and each column's report."""
    counts = snapshot.cleaning
    window = ""
    if snapshot.time_column:
        window = f", {day(snapshot.start_time)} to {day(snapshot.end_time)}"
    print_table(
        ("column", "type", "missing", "distinct", "minimum", "maximum", "mean", "most frequent"),
        [
            (
                column.name,
                column.data_type,
                column.null_count,
                column.distinct_count,
                column.minimum if column.HasField("minimum") else "",
                column.maximum if column.HasField("maximum") else "",
                column.mean if column.HasField("mean") else "",
                ", ".join(each.value for each in column.top_values[:3]),
            )
            for column in snapshot.columns
        ],
        title=(
            f"{names.short(snapshot.name)}: {counts.rows_kept:,} of {counts.rows_read:,} rows kept "
            f"({counts.duplicates:,} duplicates, {counts.unusable:,} unusable){window}\n"
            f"{snapshot.digest}"
        ),
    )
