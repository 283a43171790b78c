"""The production-readiness checklist: what is there, and what is missing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, assert_never

from services.registry.core.models import Accountability
from services.registry.core.policies import ReadinessItem
from services.registry.core.versions import ModelVersion

MODEL_CARD: Final = "card.md"


@dataclass(frozen=True, slots=True)
class Finding:
    """Whether an item is there, and what it is or what would be right, in a sentence."""

    is_there: bool
    words: str


@dataclass(frozen=True, slots=True)
class Rollback:
    """What a version would be rolled back to.

    Attributes:
        target: Version that held a protected alias last, by resource name; empty: none ever did.
        is_usable: Whether it is READY.
    """

    target: str
    is_usable: bool


def readiness(
    item: ReadinessItem, version: ModelVersion, who: Accountability, rollback: Rollback
) -> Finding:
    """What is known of one item."""
    match item:
        case ReadinessItem.MODEL_CARD:
            sizes = [file.size_bytes for file in version.files if file.path == MODEL_CARD]
            if not sizes:
                return Finding(False, f"the bundle has no {MODEL_CARD}")
            return Finding(sizes[0] > 0, f"{MODEL_CARD} has {sizes[0]} bytes")
        case ReadinessItem.OWNER:
            return _said("owner", who.owner)
        case ReadinessItem.RUNBOOK:
            return _said("runbook_uri", who.runbook_uri)
        case ReadinessItem.BUDGET:
            return _said("monthly_budget", str(who.monthly_budget or ""))
        case ReadinessItem.ROLLBACK_TARGET:
            return _rollback(who, rollback)
        case _:
            assert_never(item)


def _said(field: str, value: str) -> Finding:
    if value:
        return Finding(True, f"the model's {field} is {value}")
    return Finding(False, f"the model has no {field}")


def _rollback(who: Accountability, rollback: Rollback) -> Finding:
    if rollback.is_usable:
        return Finding(True, f"{rollback.target} can be rolled back to")
    if rollback.target:
        return Finding(False, f"{rollback.target} would be rolled back to, but is not READY")
    if who.first_version_has_no_rollback:
        return Finding(True, "none, as declared for the first version")
    return Finding(
        False,
        "no other version ever held a protected alias, and the model does not declare "
        "first_version_has_no_rollback",
    )
