"""What `card.md` says of decisions for groups."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from services.trainer.adapters.export.card_tables import table
from services.trainer.adapters.export.documents import Evidence
from services.trainer.core.fairness import BIAS, RATES, ColumnFairness, Estimate

_TITLES: Final = {
    "selection_rate": "decided 1",
    "true_positive_rate": "of label 1 (TPR)",
    "false_positive_rate": "of label 0 (FPR)",
    "precision": "precision",
    BIAS: "promised too much",
}


def fairness_section(evidence: Evidence) -> Iterator[str]:
    """The groups of the test part, column by column; nothing where none is compared."""
    if not evidence.fairness:
        return
    yield "## Decisions for groups of the test part"
    yield ""
    yield (
        f"Decided 1 from a probability of {evidence.spec.threshold:g} on; 95 % intervals in "
        "brackets. By chance: how far apart groups of these sizes are in 19 of 20 draws, at most, "
        "where the model treats all alike."
    )
    yield ""
    for found in evidence.fairness:
        yield from _column(found)


def _column(found: ColumnFairness) -> Iterator[str]:
    named = (*RATES, BIAS)
    rows = [
        [group.value or "(missing)", str(group.rows), *(_cell(group.estimates, n) for n in named)]
        for group in found.groups
    ]
    yield from table([found.column, "rows", *(_TITLES[name] for name in named)], rows)
    yield ""
    if found.left_out:
        small = ", ".join(f"{value or '(missing)'} ({n})" for value, n in found.left_out.items())
        yield f"Left out for their few rows: {small}."
        yield ""
    if not found.disparities:
        yield f"No two groups of `{found.column}` have enough rows to be compared."
        yield ""
        return
    yield from table(
        [f"between groups of {found.column}", "value", "by chance", "lowest", "highest"],
        [
            [
                name.replace("_", " "),
                f"{each.value:.3f} ({each.low:.3f} to {each.high:.3f})",
                f"{each.by_chance:.3f}",
                each.lowest or "(missing)",
                each.highest or "(missing)",
            ]
            for name, each in found.disparities.items()
        ],
    )
    yield ""


def _cell(estimates: Mapping[str, Estimate], name: str) -> str:
    if name not in estimates:
        return "-"
    found = estimates[name]
    return f"{found.value:.3f} ({found.low:.3f} to {found.high:.3f})"
