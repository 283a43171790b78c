"""`roundhouse endpoints`: what serves."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from google.protobuf.field_mask_pb2 import FieldMask
from roundhouse.cli import names
from roundhouse.cli.documents import read_document
from roundhouse.cli.failures import BadOutcome
from roundhouse.cli.output import OUT, as_dict, print_json, print_table, when
from roundhouse.cli.paging import every
from roundhouse.cli.session import Json, session_of
from roundhouse.client import Client
from roundhouse.inference.v1.endpoint_pb2 import Endpoint, Fallback
from roundhouse.inference.v1.endpoint_service_pb2 import (
    CreateEndpointRequest,
    GetEndpointRequest,
    ListEndpointsRequest,
    SetFallbackRequest,
    UpdateEndpointRequest,
)
from roundhouse.registry.v1.evaluation_pb2 import Approval
from roundhouse.registry.v1.evaluation_service_pb2 import ListApprovalsRequest
from roundhouse.registry.v1.model_service_pb2 import GetVersionRequest

app = typer.Typer(help="Serve versions behind stable names.", no_args_is_help=True)

CREATE_TIMEOUT_S = 120.0
"""A first version is fetched, verified, loaded and warmed up before the answer."""

EndpointName = Annotated[str, typer.Argument(help="Endpoint's id or resource name.")]


@app.command("list")
def list_endpoints(context: typer.Context, as_json: Json = False) -> None:
    """List endpoints with what serves at each."""
    session = session_of(context)
    request = ListEndpointsRequest(parent=names.parent(session.project))
    with session.client() as client:
        endpoints = list(every(client.endpoints.ListEndpoints, request, "endpoints"))
    if as_json:
        print_json([as_dict(endpoint) for endpoint in endpoints])
        return
    print_table(
        ("endpoint", "serves", "alias", "observed", "created"),
        [
            (
                names.short(endpoint.name),
                shares(endpoint),
                endpoint.alias,
                endpoint.log_observations,
                when(endpoint.create_time),
            )
            for endpoint in endpoints
        ],
        title="Endpoints",
    )


@app.command()
def show(context: typer.Context, endpoint: EndpointName, as_json: Json = False) -> None:
    """Show an endpoint's variants, the memory that each took, and its decision policy."""
    session = session_of(context)
    name = names.full(session.project, "endpoints", endpoint)
    with session.client() as client:
        found = client.endpoints.GetEndpoint(GetEndpointRequest(name=name))
    if as_json:
        print_json(as_dict(found))
        return
    policy = found.decision_policy
    print_table(
        ("version", "share", "ready", "memory", "digest"),
        [
            (
                names.short(variant.version),
                f"{variant.weight_basis_points / 100:g} %",
                variant.ready,
                f"{variant.memory_bytes / 2**20:,.1f} MiB",
                variant.digest,
            )
            for variant in found.variants
        ],
        title=(
            f"{names.short(found.name)}: decision policy {policy.version}, "
            f"{policy.positive_action or 'label 1'} from a probability of "
            f"{policy.threshold or 0.5:g} on"
            f"{'; requests may not pin versions' if found.forbid_pins else ''}"
        ),
    )


@app.command()
def create(
    context: typer.Context,
    endpoint_id: Annotated[str, typer.Argument(help="Id of the new endpoint.")],
    version: Annotated[
        str, typer.Option(help="First version: MODEL/NUMBER, MODEL@ALIAS or resource name.")
    ],
    alias: Annotated[str, typer.Option(help="Alias that follows what serves.")] = "",
    triton: Annotated[bool, typer.Option("--triton", help="Run versions on Triton.")] = False,
    observe: Annotated[bool, typer.Option(help="Send predictions to the monitor.")] = True,
    forbid_pins: Annotated[
        bool, typer.Option("--forbid-pins", help="Refuse requests that pin a version.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Create an endpoint once its first version is verified, loaded and warm."""
    session = session_of(context)
    with session.client() as client:
        first = client.models.GetVersion(
            GetVersionRequest(name=names.version(session.project, version))
        )
        endpoint = Endpoint(
            initial_version=first.name,
            initial_approval=approval_of(client, first.name),
            alias=alias,
            runtime=Endpoint.RUNTIME_TRITON if triton else Endpoint.RUNTIME_ONNX_RUNTIME,
            log_observations=observe,
            forbid_pins=forbid_pins,
        )
        created = client.endpoints.CreateEndpoint(
            CreateEndpointRequest(
                parent=names.parent(session.project), endpoint_id=endpoint_id, endpoint=endpoint
            ),
            timeout=CREATE_TIMEOUT_S,
        )
    if as_json:
        print_json(as_dict(created))
    else:
        OUT.print(f"{endpoint_id} serves {shares(created)}.")


@app.command()
def fallback(
    context: typer.Context,
    endpoint: EndpointName,
    file: Annotated[
        Path | None,
        typer.Argument(
            exists=True,
            dir_okay=False,
            help="Fallback, as YAML or JSON; none is set if it is left out.",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Say what answers when a variant can't: another version, or a decision without a model."""
    session = session_of(context)
    request = SetFallbackRequest(name=names.full(session.project, "endpoints", endpoint))
    if file is not None:
        request.fallback.CopyFrom(read_document(file, Fallback()))
    with session.client() as client:
        changed = client.endpoints.SetFallback(request, timeout=CREATE_TIMEOUT_S)
    if as_json:
        print_json(as_dict(changed))
        return
    answer = changed.fallback.WhichOneof("answer")
    told = {
        "version": f"falls back to {names.short(changed.fallback.version.version)}",
        "decision": f"decides {changed.fallback.decision.action!r} when a variant can't answer",
    }
    OUT.print(f"{endpoint} {told.get(answer or '', 'has no fallback')}.")


@app.command()
def pins(
    context: typer.Context,
    endpoint: EndpointName,
    forbid: Annotated[
        bool, typer.Option("--forbid/--allow", help="Whether to refuse requests that pin one.")
    ],
    as_json: Json = False,
) -> None:
    """Say whether inference requests may pin a version, or the shares alone decide."""
    session = session_of(context)
    request = UpdateEndpointRequest(
        endpoint=Endpoint(
            name=names.full(session.project, "endpoints", endpoint), forbid_pins=forbid
        ),
        update_mask=FieldMask(paths=["forbid_pins"]),
    )
    with session.client() as client:
        changed = client.endpoints.UpdateEndpoint(request)
    if as_json:
        print_json(as_dict(changed))
    else:
        told = "may not pin a version" if changed.forbid_pins else "may pin any loaded version"
        OUT.print(f"Requests of {endpoint} {told}.")


def shares(endpoint: Endpoint) -> str:
    """Versions with their shares, such as `flights/1 95 %, flights/2 5 %`."""
    return ", ".join(
        f"{names.short(variant.version)} {variant.weight_basis_points / 100:g} %"
        for variant in endpoint.variants
        if variant.weight_basis_points
    )


def approval_of(client: Client, version: str) -> str:
    """The newest approval that lets a version serve.

    Raises:
        BadOutcome: There is none.
    """
    request = ListApprovalsRequest(parent=version)
    for approval in every(client.evaluations.ListApprovals, request, "approvals"):
        if approval.state == Approval.STATE_APPROVED:
            name: str = approval.name
            return name
    raise BadOutcome(
        f"{names.short(version)} is not approved; "
        f"approve it with: roundhouse models approve {names.short(version)}"
    )
