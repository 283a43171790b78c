"""`roundhouse policies`: how probabilities become decisions, apart from the weights."""

from __future__ import annotations

import getpass
from pathlib import Path
from typing import Annotated

import typer
from roundhouse.cli import names
from roundhouse.cli.documents import as_yaml, document_of, read_document
from roundhouse.cli.output import OUT, as_dict, print_json, print_table, when
from roundhouse.cli.paging import every
from roundhouse.cli.session import Json, session_of
from roundhouse.inference.v1.policy_pb2 import PolicyVersion
from roundhouse.inference.v1.policy_service_pb2 import (
    CreatePolicyVersionRequest,
    GetPolicyVersionRequest,
    ListPolicyMovesRequest,
    ListPolicyVersionsRequest,
    PointEndpointRequest,
)

app = typer.Typer(help="Decide otherwise without new weights.", no_args_is_help=True)

OWN = "own"

EndpointName = Annotated[str, typer.Argument(help="Endpoint's id or resource name.")]
Purpose = Annotated[str, typer.Option(help="Why, for the record.")]
ValidateOnly = Annotated[
    bool, typer.Option("--validate-only", help="Check everything without doing it.")
]


@app.command()
def create(
    context: typer.Context,
    policy: Annotated[str, typer.Argument(help="Policy's id; its first version makes it.")],
    file: Annotated[
        Path,
        typer.Argument(
            exists=True, dir_okay=False, help="`thresholds` or `costs`, as YAML or JSON."
        ),
    ],
    purpose: Purpose,
    author: Annotated[str, typer.Option(help="Who makes it.", show_default="you")] = "",
    validate_only: ValidateOnly = False,
    as_json: Json = False,
) -> None:
    """Make the next version of a decision policy out of a file."""
    session = session_of(context)
    version = read_document(file, PolicyVersion())
    version.author, version.purpose = author or getpass.getuser(), purpose
    request = CreatePolicyVersionRequest(
        parent=names.full(session.project, "policies", policy),
        policy_version=version,
        validate_only=validate_only,
    )
    with session.client() as client:
        created = client.policies.CreatePolicyVersion(request)
    if as_json:
        print_json(as_dict(created))
    else:
        OUT.print(f"{_short(created.name)} {'may be made' if validate_only else 'is made'}.")


@app.command("list")
def list_versions(
    context: typer.Context,
    policy: Annotated[str, typer.Argument(help="Policy's id; all if left out.")] = "-",
    as_json: Json = False,
) -> None:
    """List the versions of decision policies, newest first."""
    session = session_of(context)
    request = ListPolicyVersionsRequest(parent=names.full(session.project, "policies", policy))
    with session.client() as client:
        found = list(every(client.policies.ListPolicyVersions, request, "policy_versions"))
    if as_json:
        print_json([as_dict(each) for each in found])
        return
    print_table(
        ("version", "rule", "made", "by", "why"),
        [
            (
                _short(each.name),
                each.WhichOneof("rule"),
                when(each.create_time),
                each.author,
                each.purpose,
            )
            for each in found
        ],
        title="Decision policies",
    )


@app.command()
def show(
    context: typer.Context,
    version: Annotated[str, typer.Argument(help="POLICY/NUMBER or resource name.")],
    as_json: Json = False,
) -> None:
    """Print a policy version; its rule is what `policies create` takes."""
    session = session_of(context)
    request = GetPolicyVersionRequest(name=_full(session.project, version))
    with session.client() as client:
        found = client.policies.GetPolicyVersion(request)
    if as_json:
        print_json(as_dict(found))
    else:
        OUT.print(as_yaml(document_of(found)), end="", markup=False, highlight=False)


@app.command()
def point(
    context: typer.Context,
    endpoint: EndpointName,
    version: Annotated[
        str,
        typer.Argument(help=f"POLICY/NUMBER; '{OWN}' for the policy that the endpoint keeps."),
    ],
    purpose: Purpose,
    actor: Annotated[str, typer.Option(help="Who does it.", show_default="you")] = "",
    validate_only: ValidateOnly = False,
    as_json: Json = False,
) -> None:
    """Point an endpoint at a policy version, or back: it decides from the next request on."""
    session = session_of(context)
    request = PointEndpointRequest(
        name=names.full(session.project, "endpoints", endpoint),
        policy_version="" if version == OWN else _full(session.project, version),
        actor=actor or getpass.getuser(),
        purpose=purpose,
        validate_only=validate_only,
    )
    with session.client() as client:
        pointed = client.policies.PointEndpoint(request)
    if as_json:
        print_json(as_dict(pointed))
    else:
        verb = "may decide" if validate_only else "decides"
        decider = _short(pointed.policy_version) or "its own policy"
        OUT.print(f"{names.short(pointed.name)} {verb} by {decider}.")


@app.command()
def history(context: typer.Context, endpoint: EndpointName, as_json: Json = False) -> None:
    """List what an endpoint was pointed at, newest first: who, why and when."""
    session = session_of(context)
    request = ListPolicyMovesRequest(parent=names.full(session.project, "endpoints", endpoint))
    with session.client() as client:
        moves = list(every(client.policies.ListPolicyMoves, request, "policy_moves"))
    if as_json:
        print_json([as_dict(each) for each in moves])
        return
    print_table(
        ("when", "from", "to", "by", "why"),
        [
            (
                when(each.create_time),
                _short(each.before),
                _short(each.after),
                each.actor,
                each.purpose,
            )
            for each in moves
        ],
        title=f"What decided at {endpoint}",
    )


def _full(project: str, version: str) -> str:
    policy, _, number = version.partition("/")
    if version.startswith("projects/"):
        return version
    return f"{names.full(project, 'policies', policy)}/versions/{number}"


def _short(name: str) -> str:
    """`delays/2` for a policy version, `own/1` for an endpoint's own policy."""
    policy, _, number = name.rpartition("/versions/")
    if policy:
        return f"{names.last(policy)}/{number}"
    return f"{OWN}/{names.last(name)}" if name else ""
