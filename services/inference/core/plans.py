"""The digest of a rollout's plan, which an approval may be bound to."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Final, Protocol, TypeAlias

Planned: TypeAlias = str | float | Sequence["Planned"] | Mapping[str, "Planned"] | None
"""What a plan says of one thing."""


class PlannedPhase(Protocol):
    """One step, as far as a plan says it."""

    def as_plan(self) -> dict[str, Planned]:
        """Everything that the approver agrees to, by name."""
        ...


AT_ONCE: Final = ()
"""The plan of an endpoint's creation: its first version has all traffic at once."""


def plan_digest(phases: Sequence[PlannedPhase]) -> str:
    """`sha256:` and 64 hex digits of `{"phases": [...]}` as canonical JSON.

    Canonical: keys sorted, no spaces, UTF-8. Defaults are filled in before, so that what means
    the same has the same digest.
    """
    plan = {"phases": [phase.as_plan() for phase in phases]}
    text = json.dumps(plan, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"
