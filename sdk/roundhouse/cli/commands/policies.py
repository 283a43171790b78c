"""`roundhouse models policy`: what a version must show, as a file."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer
from google.protobuf.field_mask_pb2 import FieldMask
from roundhouse.cli import names
from roundhouse.cli.documents import as_yaml, document_of, read_document
from roundhouse.cli.output import OUT, print_json
from roundhouse.cli.session import Json, session_of
from roundhouse.registry.v1.model_pb2 import Model, PromotionPolicy
from roundhouse.registry.v1.model_service_pb2 import GetModelRequest, UpdateModelRequest

app = typer.Typer(help="See and change a model's promotion policy.", no_args_is_help=True)

ModelName = Annotated[str, typer.Argument(help="Model's id or resource name.")]


@app.command("set")
def set_policy(
    context: typer.Context,
    model: ModelName,
    file: Annotated[
        Path,
        typer.Argument(exists=True, dir_okay=False, help="PromotionPolicy, as YAML or JSON."),
    ],
    as_json: Json = False,
) -> None:
    """Replace a model's promotion policy by that of a file."""
    session = session_of(context)
    policy = read_document(file, PromotionPolicy())
    with session.client() as client:
        changed = client.models.UpdateModel(
            UpdateModelRequest(
                model=Model(
                    name=names.full(session.project, "models", model), promotion_policy=policy
                ),
                update_mask=FieldMask(paths=["promotion_policy"]),
            )
        )
    if as_json:
        print_json(document_of(changed.promotion_policy))
    else:
        policy = changed.promotion_policy
        OUT.print(
            f"{names.short(changed.name)}: {len(policy.rules)} rules, "
            f"{len(policy.readiness)} items of readiness, "
            f"protected: {', '.join(policy.protected_aliases) or 'nothing'}."
        )


@app.command("show")
def show_policy(context: typer.Context, model: ModelName, as_json: Json = False) -> None:
    """Print a model's promotion policy as `policy set` takes it."""
    session = session_of(context)
    request = GetModelRequest(name=names.full(session.project, "models", model))
    with session.client() as client:
        document = document_of(client.models.GetModel(request).promotion_policy)
    if as_json:
        print_json(document)
    else:
        sys.stdout.write(as_yaml(document))
