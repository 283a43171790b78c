"""`roundhouse models explain`: how a version came to be, and what came of it."""

from __future__ import annotations

from typing import Annotated, Final

import typer
from roundhouse.cli import names
from roundhouse.cli.output import ERR, OUT, as_dict, print_json
from roundhouse.cli.session import Json, session_of
from roundhouse.cli.views.lineage import lineage_tree
from roundhouse.registry.v1.lineage_service_pb2 import QueryLineageRequest
from roundhouse.registry.v1.model_service_pb2 import GetVersionRequest

_MOST_EDGES: Final = 4_000


def explain_command(
    context: typer.Context,
    version: Annotated[str, typer.Argument(help="MODEL/NUMBER, MODEL@ALIAS or resource name.")],
    max_hops: Annotated[
        int, typer.Option(min=1, max=32, help="How far to go, each way.", show_default=True)
    ] = 8,
    as_json: Json = False,
) -> None:
    """Show the data, job, evidence and decisions behind a version, and where it serves."""
    session = session_of(context)
    with session.client() as client:
        found = client.models.GetVersion(
            GetVersionRequest(name=names.version(session.project, version))
        )
        lineage = client.lineage.QueryLineage(
            QueryLineageRequest(
                name=found.name,
                direction=QueryLineageRequest.DIRECTION_BOTH,
                max_hops=max_hops,
                max_edges=_MOST_EDGES,
            )
        )
    if as_json:
        print_json({"version": as_dict(found), **as_dict(lineage)})
        return
    OUT.print(lineage_tree(found, lineage))
    if lineage.truncated:
        ERR.print(f"There is more beyond {max_hops} hops or {_MOST_EDGES:,} edges.")
