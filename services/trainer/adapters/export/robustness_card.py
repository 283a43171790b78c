"""What `card.md` says of rows that come otherwise than they were learned."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from services.trainer.adapters.export.card_tables import table
from services.trainer.adapters.export.documents import Evidence
from services.trainer.core.row_changes import Check

_TITLES: Final = {
    Check.NOISE: "noise on a number",
    Check.MISSING: "a feature missing",
    Check.UNSEEN: "a word never seen",
    Check.UNITS: "a number in another unit, 1,000 times as large",
    Check.OUT_OF_RANGE: "a number beyond its range",
    Check.TYPOS: "typos in a text",
    Check.DROPPED_WORDS: "words of a text left out",
}


def robustness_section(evidence: Evidence) -> Iterator[str]:
    """What each change costs at most, and of which feature; nothing where nobody asked."""
    found = evidence.robustness
    if found is None:
        return
    yield "## When rows come otherwise"
    yield ""
    yield (
        f"{found.rows} rows of the validation part, judged by a model of the train part. Noise of "
        f"{found.noise:g} deviations; other rows beside it change an answer by "
        f"{found.order_difference:.1e} at most."
    )
    yield ""
    flips = found.flips
    yield from table(
        [
            "change",
            f"{evidence.spec.metric} worse by at most",
            "of",
            *(["decisions turned at most"] if flips else []),
        ],
        [
            [
                _TITLES[check],
                f"{worst.fall:+.4f}",
                worst.feature or "all at once",
                *([f"{flips[check].flipped:.1%}"] if flips else []),
            ]
            for check, worst in found.falls.items()
        ],
    )
    yield ""
