"""Rows as they come when something goes wrong: noise, gaps, wrong units, new words, typos."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from enum import StrEnum
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from services.trainer.core.tables import Strings, Table

Column = npt.NDArray[Any]  # float32 or str, one value for each row

UNIT: Final = 1000.0
"""What numbers in the next smaller unit are larger by: metres sent as millimetres."""

BEYOND_SPREADS: Final = 10.0
FARTHEST: Final = np.float32(1e30)
"""Beyond it float32 has no room left for a model to compute in."""

UNSEEN: Final = "\N{REPLACEMENT CHARACTER}never seen"

SHORTEST: Final = 4
"""Letters of a word that gets a typo: shorter ones have no two inner letters to swap."""


class Check(StrEnum):
    """What rows are made to look like. The values are part of names of metrics."""

    NOISE = "noise"
    MISSING = "missing"
    UNSEEN = "unseen"
    UNITS = "units"
    OUT_OF_RANGE = "out_of_range"
    TYPOS = "typos"
    DROPPED_WORDS = "dropped_words"


Change = tuple[Check, str, Mapping[str, Column]]
"""A check, the feature that it changes ('' means all that can be), and what takes its place."""


def changes(rows: Table, noise: float, random: np.random.Generator) -> Iterator[Change]:
    """Every change of `rows` that is tried.

    Args:
        rows: As they are.
        noise: Deviation of the noise in those of a number; of texts the share of words that get a
            typo or are left out, all of them from 1 on.
        random: Where chance comes from.
    """
    yield from _of_numbers(rows, noise, random)
    yield from _of_words(rows)
    for name, texts in rows.text.items():
        share = min(1.0, noise)
        yield Check.MISSING, name, {name: np.full(len(rows), "", dtype=object)}
        yield Check.TYPOS, name, {name: misspelt(texts, share, random)}
        yield Check.DROPPED_WORDS, name, {name: thinned(texts, share, random)}


def misspelt(texts: Strings, share: float, random: np.random.Generator) -> Strings:
    """Object [rows] of str: so many of the longer words with one slip of the fingers.

    Two inner letters change places, one is left out, or one is doubled: what people mistype, the
    first and the last letter apart (Pruthi et al., Combating Adversarial Misspellings, ACL 2019).
    """

    def mistyped(word: str) -> str:
        if len(word) < SHORTEST or random.random() >= share:
            return word
        at = int(random.integers(1, len(word) - 2))
        before, one, other, after = word[:at], word[at], word[at + 1], word[at + 2 :]
        slip = random.integers(3)
        inner = (other + one, other, one + one + other)[slip]
        return f"{before}{inner}{after}"

    return _by_word(texts, lambda words: [mistyped(word) for word in words])


def thinned(texts: Strings, share: float, random: np.random.Generator) -> Strings:
    """Object [rows] of str: without so many of the words."""
    return _by_word(texts, lambda words: [word for word in words if random.random() >= share])


def _by_word(texts: Strings, change: Callable[[list[str]], list[str]]) -> Strings:
    changed = np.empty(len(texts), dtype=object)
    changed[:] = [" ".join(change(text.split(" "))) for text in texts]
    return changed


def _of_numbers(rows: Table, noise: float, random: np.random.Generator) -> Iterator[Change]:
    noisy: dict[str, Column] = {}
    for name, column in rows.numeric.items():
        spread, low, high = _range(column)
        noisy[name] = _within(column + noise * spread * random.standard_normal(len(column)))
        ends = np.where(np.arange(len(column)) % 2, low, high)
        outward = np.where(np.arange(len(column)) % 2, -1, 1) * BEYOND_SPREADS * (spread or 1.0)
        yield Check.NOISE, name, {name: noisy[name]}
        yield Check.MISSING, name, {name: np.full(len(column), np.nan, dtype=np.float32)}
        yield Check.UNITS, name, {name: _within(column.astype(np.float64) * UNIT)}
        yield Check.OUT_OF_RANGE, name, {name: _within(ends + outward)}
    if len(noisy) > 1:
        yield Check.NOISE, "", noisy


def _of_words(rows: Table) -> Iterator[Change]:
    unseen = {name: np.full(len(rows), UNSEEN, dtype=object) for name in rows.categorical}
    for name, column in unseen.items():
        yield Check.MISSING, name, {name: np.full(len(rows), "", dtype=object)}
        yield Check.UNSEEN, name, {name: column}
    if len(unseen) > 1:
        yield Check.UNSEEN, "", unseen


def _range(column: Column) -> tuple[float, float, float]:
    """Deviation, smallest and largest of the numbers there are; 0 where there is none."""
    known = column[np.isfinite(column)].astype(np.float64)
    if not known.size:
        return 0.0, 0.0, 0.0
    return float(known.std()), float(known.min()), float(known.max())


def _within(column: Column) -> npt.NDArray[np.float32]:
    """As float32 that a model can compute with; missing stays missing."""
    clipped: npt.NDArray[np.float32] = np.clip(column, -FARTHEST, FARTHEST).astype(np.float32)
    return clipped
