"""Gate results, readiness and the ledger as tables."""

from __future__ import annotations

from collections.abc import Sequence

from rich.markup import escape
from roundhouse.cli import names
from roundhouse.cli.output import print_table, state_name, when
from roundhouse.registry.v1.evaluation_pb2 import Evaluation, GateResult, TestSetTouch
from roundhouse.registry.v1.model_pb2 import Model, ModelVersion, ReadinessItem

_CARD = "card.md"


def print_gate(result: GateResult, version: str) -> None:
    """Each rule with its numbers."""
    against = ""
    if result.baseline_evaluation:
        baseline = result.baseline_evaluation.split("/evaluations/")[0]
        against = f" against {names.short(baseline)}"
    print_table(
        ("rule", "passed", "value", "bar", "in words"),
        [
            (
                escape(verdict.subject),
                verdict.passed,
                verdict.value if verdict.HasField("value") else "",
                verdict.bar if verdict.HasField("bar") else "",
                escape(verdict.explanation),
            )
            for verdict in result.verdicts
        ],
        title=(
            f"{names.short(version)} {'passed' if result.passed else 'did not pass'}{against}, "
            f"{when(result.create_time)}\nevidence {result.evidence_digest}"
        ),
    )


def print_readiness(model: Model, versions: Sequence[ModelVersion]) -> None:
    """What of the checklist the model has, and what its policy asks for."""
    asked = set(model.promotion_policy.readiness)
    budget = model.monthly_budget
    found = {
        "OWNER": model.owner,
        "RUNBOOK": model.runbook_uri,
        "BUDGET": (
            f"{budget.units + budget.nanos / 1e9:,.2f} {budget.currency_code} a month"
            if model.HasField("monthly_budget")
            else ""
        ),
        "MODEL_CARD": _with_card(versions),
        "ROLLBACK_TARGET": _holder(model, versions),
    }
    print_table(
        ("readiness", "asked for", "is"),
        [
            (item.lower().replace("_", " "), _number(item) in asked, value or "missing")
            for item, value in found.items()
        ],
    )


def print_touches(touches: Sequence[TestSetTouch]) -> None:
    """Who has seen which rows."""
    print_table(
        ("when", "version", "purpose", "snapshot", "split", "rows of", "training job"),
        [
            (
                when(touch.time),
                names.short(touch.version),
                purpose_name(touch.purpose),
                names.short(touch.snapshot),
                touch.split,
                touch.split_digest[:19],
                names.last(touch.training_job),
            )
            for touch in touches
        ],
        title="Looks at splits, newest first",
    )


def purpose_name(purpose: Evaluation.Purpose.ValueType) -> str:
    """The purpose in lower case."""
    return state_name(Evaluation.Purpose.Name(purpose).removeprefix("PURPOSE_")).lower()


def _number(item: str) -> int:
    return ReadinessItem.Value(f"READINESS_ITEM_{item}")


def _with_card(versions: Sequence[ModelVersion]) -> str:
    carded = [
        names.last(version.name)
        for version in versions
        if any(file.path == _CARD and file.size_bytes for file in version.files)
    ]
    return f"in versions {', '.join(carded)}" if carded else ""


def _holder(model: Model, versions: Sequence[ModelVersion]) -> str:
    protected = {
        f"{model.name}/aliases/{alias}" for alias in model.promotion_policy.protected_aliases
    }
    for version in versions:
        if protected & set(version.aliases):
            return names.short(version.name)
    return "none, as declared" if model.first_version_has_no_rollback else ""
