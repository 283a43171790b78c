"""`roundhouse models set|gate|request|approve`: how a version earns a protected alias."""

from __future__ import annotations

import getpass
import re
from typing import Annotated, Final

import typer
from google.protobuf.field_mask_pb2 import FieldMask
from google.type.money_pb2 import Money
from roundhouse.cli import names
from roundhouse.cli.failures import BadOutcome, UsageFault
from roundhouse.cli.output import OUT, as_dict, print_json
from roundhouse.cli.paging import every
from roundhouse.cli.session import Json, session_of
from roundhouse.cli.views.promotion import print_gate
from roundhouse.client import Client
from roundhouse.registry.v1.evaluation_pb2 import Approval, Evaluation, GateResult
from roundhouse.registry.v1.evaluation_service_pb2 import (
    DecideApprovalRequest,
    EvaluateGateRequest,
    ListApprovalsRequest,
    ListEvaluationsRequest,
    ListGateResultsRequest,
    RequestApprovalRequest,
)
from roundhouse.registry.v1.model_pb2 import Model
from roundhouse.registry.v1.model_service_pb2 import (
    GetModelRequest,
    GetVersionRequest,
    ListAliasesRequest,
    UpdateModelRequest,
)

VersionName = Annotated[
    str, typer.Argument(help="MODEL/NUMBER, MODEL@ALIAS or resource name of a version.")
]
_BUDGET: Final = re.compile(r"(\d+)(?:\.(\d{1,9}))? ?([A-Z]{3})")


def set_model(
    context: typer.Context,
    model: Annotated[str, typer.Argument(help="Model's id or resource name.")],
    owner: Annotated[str | None, typer.Option(help="Who answers for the model.")] = None,
    runbook_uri: Annotated[
        str | None, typer.Option("--runbook", help="URI of what people on call read.")
    ] = None,
    budget: Annotated[
        str | None, typer.Option(help="What a month may cost, such as '300 EUR'.")
    ] = None,
    no_rollback: Annotated[
        bool | None,
        typer.Option(
            "--first-version-has-no-rollback/--first-version-needs-rollback",
            help="Whether the first version may go without a rollback target.",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Say who answers for a model; what is left out stays as it is."""
    session = session_of(context)
    given = {
        "owner": owner,
        "runbook_uri": runbook_uri,
        "monthly_budget": budget,
        "first_version_has_no_rollback": no_rollback,
    }
    changes = [field for field, value in given.items() if value is not None]
    wanted = Model(
        name=names.full(session.project, "models", model),
        owner=owner or "",
        runbook_uri=runbook_uri or "",
        monthly_budget=None if budget is None else _money(budget),
        first_version_has_no_rollback=bool(no_rollback),
    )
    if not changes:
        raise UsageFault("Nothing is to be set; see: roundhouse models set --help")
    with session.client() as client:
        changed = client.models.UpdateModel(
            UpdateModelRequest(model=wanted, update_mask=FieldMask(paths=changes))
        )
    if as_json:
        print_json(as_dict(changed))
    else:
        OUT.print(f"{names.short(changed.name)}: {', '.join(changes)} set.")


def gate(
    context: typer.Context,
    version: VersionName,
    evaluate: Annotated[
        bool,
        typer.Option(
            "--evaluate",
            help="Hold the newest test against the policy anew, and against the version that "
            "has a protected alias, if that was scored on the same rows.",
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Show what the gate said of a version, rule by rule; exit code 1 if it did not pass."""
    session = session_of(context)
    with session.client() as client:
        name = _version(client, session.project, version)
        result = _evaluated(client, name) if evaluate else _newest(client, name)
    if as_json:
        print_json(as_dict(result))
    else:
        print_gate(result, name)
    if not result.passed:
        failed = sum(not verdict.passed for verdict in result.verdicts)
        raise BadOutcome(f"{failed} of {len(result.verdicts)} rules did not pass.")


def request(
    context: typer.Context,
    version: VersionName,
    requester: Annotated[str, typer.Option(help="Who asks.", show_default="you")] = "",
    plan_digest: Annotated[
        str, typer.Option("--plan", help="Digest that `roundhouse rollouts plan` prints.")
    ] = "",
    as_json: Json = False,
) -> None:
    """Ask for the approval of a version whose gate passed."""
    session = session_of(context)
    with session.client() as client:
        name = _version(client, session.project, version)
        asked = client.evaluations.RequestApproval(
            RequestApprovalRequest(
                parent=name,
                approval=Approval(
                    gate_result=_newest(client, name).name,
                    requester=requester or getpass.getuser(),
                    plan_digest=plan_digest,
                ),
            )
        )
    if as_json:
        print_json(as_dict(asked))
    else:
        OUT.print(f"Asked as {asked.requester}: {asked.name}")


def approve(
    context: typer.Context,
    version: VersionName,
    reject: Annotated[bool, typer.Option("--reject", help="Refuse instead.")] = False,
    approver: Annotated[
        str, typer.Option(help="Who decides; never the one who asked.", show_default="you")
    ] = "",
    comment: Annotated[str, typer.Option(help="Why, for the record.")] = "",
    as_json: Json = False,
) -> None:
    """Decide the pending approval of a version."""
    session = session_of(context)
    with session.client() as client:
        name = _version(client, session.project, version)
        listed = every(
            client.evaluations.ListApprovals,
            ListApprovalsRequest(parent=name, filter="state = PENDING"),
            "approvals",
        )
        pending = next(iter(listed), None)
        if pending is None:
            raise BadOutcome(
                f"No approval of {names.short(name)} is pending; "
                f"see: roundhouse models show {names.short(names.model_of(name))}"
            )
        decided = client.evaluations.DecideApproval(
            DecideApprovalRequest(
                name=pending.name,
                decision=(
                    DecideApprovalRequest.DECISION_REJECT
                    if reject
                    else DecideApprovalRequest.DECISION_APPROVE
                ),
                approver=approver or getpass.getuser(),
                comment=comment,
                etag=pending.etag,
                artifact_digest=pending.artifact_digest,
                evidence_digest=pending.evidence_digest,
                plan_digest=pending.plan_digest,
            )
        )
    if as_json:
        print_json(as_dict(decided))
    else:
        OUT.print(
            f"{'Rejected' if reject else 'Approved'} {names.short(name)} "
            f"as {decided.approver}: {decided.name}"
        )


def _version(client: Client, project: str, version: str) -> str:
    request = GetVersionRequest(name=names.version(project, version))
    name: str = client.models.GetVersion(request).name
    return name


def _newest(client: Client, version: str) -> GateResult:
    listed = client.evaluations.ListGateResults(
        ListGateResultsRequest(parent=version, page_size=1)
    ).gate_results
    if not listed:
        raise BadOutcome(
            f"The gate has not judged {names.short(version)}; "
            f"have it with: roundhouse models gate {names.short(version)} --evaluate"
        )
    return listed[0]


def _evaluated(client: Client, version: str) -> GateResult:
    tests = client.evaluations.ListEvaluations(
        ListEvaluationsRequest(parent=version, page_size=1, filter="purpose = TEST")
    ).evaluations
    if not tests:
        raise BadOutcome(f"{names.short(version)} was never tested.")
    return client.evaluations.EvaluateGate(
        EvaluateGateRequest(
            evaluation=tests[0].name,
            baseline_evaluation=_baseline(client, version, tests[0]),
        )
    )


def _baseline(client: Client, version: str, test: Evaluation) -> str:
    """The serving version's evaluation on the rows of `test`; empty where there is none."""
    model = client.models.GetModel(GetModelRequest(name=names.model_of(version)))
    listed = every(client.models.ListAliases, ListAliasesRequest(parent=model.name), "aliases")
    for alias in listed:
        if not alias.protected or alias.version == version:
            continue
        request = ListEvaluationsRequest(
            parent=alias.version,
            filter=f'snapshot = "{test.snapshot}" AND split_digest = "{test.split_digest}"',
        )
        for found in every(client.evaluations.ListEvaluations, request, "evaluations"):
            if found.purpose in (Evaluation.PURPOSE_TEST, Evaluation.PURPOSE_BASELINE):
                name: str = found.name
                return name
    return ""


def _money(text: str) -> Money:
    match = _BUDGET.fullmatch(text)
    if match is None:
        raise UsageFault(f"{text!r} is no amount; write one such as '300 EUR'.")
    units, fraction, currency = match.groups(default="")
    return Money(currency_code=currency, units=int(units), nanos=int(fraction.ljust(9, "0")))
