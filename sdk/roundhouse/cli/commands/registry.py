"""`roundhouse registry`: what is done to a registry that is down."""

from __future__ import annotations

import subprocess
import sys
from typing import Annotated

import typer

app = typer.Typer(help="Repair a registry that is down.", no_args_is_help=True)


@app.command()
def rebuild(
    blobs: Annotated[
        str, typer.Option(help="file://FOLDER or s3://BUCKET/PREFIX where its bytes are.")
    ],
    database: Annotated[
        str, typer.Option(help="sqlite:///PATH or postgresql+psycopg://…, empty or not yet there.")
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False,
) -> None:
    """Restore a lost metadata database from the records beside the bytes.

    Credentials of an S3 come from ROUNDHOUSE_REGISTRY_S3_*, as for the registry itself. Ends
    with 1 when something could not be restored, with 2 when the database is not empty.
    """
    command = [sys.executable, "-m", "services.registry", "rebuild"]
    command += ["--blobs", blobs, "--database", database]
    if as_json:
        command.append("--json")
    raise typer.Exit(subprocess.run(command, check=False).returncode)  # noqa: S603 - our own
