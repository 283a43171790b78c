"""`roundhouse models`: models and their versions."""

from __future__ import annotations

from typing import Annotated

import typer
from roundhouse.cli import names
from roundhouse.cli.commands import integrity, policies, promotion
from roundhouse.cli.commands.model_files import download_version, upload_version
from roundhouse.cli.output import (
    as_dict,
    print_json,
    print_table,
    state_name,
    when,
)
from roundhouse.cli.paging import every
from roundhouse.cli.session import Json, session_of
from roundhouse.cli.views.promotion import print_readiness, purpose_name
from roundhouse.registry.v1.evaluation_pb2 import Approval
from roundhouse.registry.v1.evaluation_service_pb2 import (
    ListApprovalsRequest,
    ListEvaluationsRequest,
)
from roundhouse.registry.v1.model_pb2 import ModelVersion
from roundhouse.registry.v1.model_service_pb2 import (
    GetModelRequest,
    ListModelsRequest,
    ListVersionsRequest,
)

TOLD_ELSEWHERE = ("fairness.", "fidelity.", "graph.", "parent.", "robustness.")
"""Begin metrics that `models fairness` and `robustness` tell, and `jobs show` of the parent."""

app = typer.Typer(
    help="See models, move their files, and approve their versions.", no_args_is_help=True
)
app.command("upload")(upload_version)
app.command("download")(download_version)
app.add_typer(policies.app, name="policy")
app.command("set")(promotion.set_model)
app.command()(promotion.gate)
app.command()(promotion.request)
app.command()(promotion.approve)
app.command()(integrity.verify)
app.command()(integrity.restore)


@app.command("list")
def list_models(context: typer.Context, as_json: Json = False) -> None:
    """List models."""
    session = session_of(context)
    request = ListModelsRequest(parent=names.parent(session.project))
    with session.client() as client:
        models = list(every(client.models.ListModels, request, "models"))
    if as_json:
        print_json([as_dict(model) for model in models])
        return
    print_table(
        ("model", "description", "protected aliases", "gate rules", "created"),
        [
            (
                names.short(model.name),
                model.description,
                ", ".join(model.promotion_policy.protected_aliases),
                len(model.promotion_policy.rules),
                when(model.create_time),
            )
            for model in models
        ],
        title="Models",
    )


@app.command()
def show(
    context: typer.Context,
    model: Annotated[str, typer.Argument(help="Model's id or resource name.")],
    as_json: Json = False,
) -> None:
    """Show a model's versions with their scores and approvals, and its readiness."""
    session = session_of(context)
    name = names.full(session.project, "models", model)
    with session.client() as client:
        found = client.models.GetModel(GetModelRequest(name=name))
        versions = list(
            every(client.models.ListVersions, ListVersionsRequest(parent=name), "versions")
        )
        evaluations = {
            version.name: list(
                every(
                    client.evaluations.ListEvaluations,
                    ListEvaluationsRequest(parent=version.name),
                    "evaluations",
                )
            )
            for version in versions
        }
        approvals = list(
            every(
                client.evaluations.ListApprovals,
                ListApprovalsRequest(parent=f"{name}/versions/-"),
                "approvals",
            )
        )
    if as_json:
        print_json(
            {
                "model": as_dict(found),
                "versions": [as_dict(version) for version in versions],
                "evaluations": [
                    as_dict(each) for listed in evaluations.values() for each in listed
                ],
                "approvals": [as_dict(approval) for approval in approvals],
            }
        )
        return
    newest_approval = {
        approval.name.split("/approvals/")[0]: approval for approval in reversed(approvals)
    }
    print_table(
        ("version", "state", "aliases", "scores", "approval", "created", "digest"),
        [
            (
                names.short(version.name),
                state_name(ModelVersion.State.Name(version.state)),
                ", ".join(version.aliases),
                "; ".join(
                    f"{each.split} ({purpose_name(each.purpose)}): "
                    + ", ".join(
                        f"{metric} {value:.4f}"
                        for metric, value in each.metrics.items()
                        if not metric.startswith(TOLD_ELSEWHERE)
                    )
                    for each in evaluations[version.name][:2]
                ),
                _approval_state(newest_approval.get(version.name)),
                when(version.create_time),
                version.digest[:19],
            )
            for version in versions
        ],
        title=f"{names.short(name)}: {found.description}",
    )
    print_readiness(found, versions)


def _approval_state(approval: Approval | None) -> str:
    return "" if approval is None else state_name(Approval.State.Name(approval.state)).lower()
