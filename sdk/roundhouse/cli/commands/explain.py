"""`roundhouse explain`: why this version serves."""

from __future__ import annotations

from typing import Annotated

import typer
from roundhouse.cli import names
from roundhouse.cli.output import OUT, as_dict, print_json
from roundhouse.cli.session import Json, session_of
from roundhouse.cli.views.causes import tree_of
from roundhouse.monitor.v1.judgement_service_pb2 import ExplainServingRequest


def explain(
    context: typer.Context,
    endpoint: Annotated[str, typer.Argument(help="Endpoint's id or resource name.")],
    as_json: Json = False,
) -> None:
    """Walk back from the version that serves to everything that caused it."""
    session = session_of(context)
    request = ExplainServingRequest(endpoint=names.full(session.project, "endpoints", endpoint))
    with session.client() as client:
        root = client.judgements.ExplainServing(request).root
    if as_json:
        print_json(as_dict(root))
    else:
        OUT.print(tree_of(root))
