"""What a graph needs to know of a `WordPiece`: what characters become, and how pieces go on."""

from __future__ import annotations

import sys
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from services.trainer.adapters.learning.wordpiece import CONTINUED, LAST_IDEOGRAPH, WordPiece

NOTHING: Final = 0
SPACE: Final = 1
UNKNOWN: Final = 2
"""A part of words that no piece has."""
UNKNOWN_ALONE: Final = 3
"""A word of its own that no piece has."""
FIRST_KNOWN: Final = 4

DEAD: Final = 0
WORD_ROOT: Final = 1
CONTINUED_ROOT: Final = 2
_NO_CHARACTER: Final = ("Cn", "Co")
"""Categories of code points that are unassigned or private: parts of unknown words."""
FREE: Final = 1


@dataclass(frozen=True, eq=False)
class Symbols:
    """What becomes of every character there is.

    Attributes:
        codes: Up to `most` symbols of each that is not just `UNKNOWN`, the first the least
            significant digit to the base `count`.
        alone: Bool [count], whether a symbol is a word of its own.
        known: The symbols that pieces are made of.
        most: Symbols of one character.
    """

    codes: Mapping[str, int]
    alone: npt.NDArray[np.bool_]
    known: Mapping[str, int]
    most: int

    @property
    def count(self) -> int:
        """Symbols there are."""
        return len(self.alone)


def symbols_of(tokenizer: WordPiece) -> Symbols:
    """The symbols that `tokenizer` makes of characters."""
    used = sorted(set("".join(tokenizer.pieces)))
    known = {symbol: FIRST_KNOWN + at for at, symbol in enumerate(used)}
    alone = [False, False, False, True, *map(tokenizer.stands_alone, used)]
    # What fills up the shorter texts of a request is nothing.
    found: dict[str, list[int]] = {"": []}
    for character in (" ", *used, *_unlike_letters(tokenizer)):
        symbols = [_symbol(tokenizer, known, each) for each in tokenizer.normalized(character)]
        if symbols != [UNKNOWN]:
            found[character] = symbols
    base = len(alone)
    codes = {
        character: sum(symbol * base**at for at, symbol in enumerate(symbols))
        for character, symbols in found.items()
    }
    return Symbols(codes, np.array(alone), known, max(map(len, found.values())))


def _unlike_letters(tokenizer: WordPiece) -> list[str]:
    """Every character that is left out, changed, or stands alone; the others go into words."""
    found = []
    for character in map(chr, range(sys.maxunicode + 1)):
        if character > LAST_IDEOGRAPH and unicodedata.category(character) in _NO_CHARACTER:
            continue
        if tokenizer.normalized(character) != character or tokenizer.stands_alone(character):
            found.append(character)
    return found


def _symbol(tokenizer: WordPiece, known: Mapping[str, int], character: str) -> int:
    if character == " ":
        return SPACE
    return known.get(character, UNKNOWN_ALONE if tokenizer.stands_alone(character) else UNKNOWN)


@dataclass(frozen=True, eq=False)
class Trie:
    """All pieces by how they begin, as a double array (Aoe, An Efficient Digital Search Algorithm
    by Using a Double-Array Structure, 1989): from `state`, `symbol` leads to `state's base +
    symbol` if the owner of that is `state`.

    Attributes:
        bases: int64 [states].
        owners: int64 [states]; -1 where no state is.
        tokens: int64 [states], the token of the piece that ends there, or -1.
        depth: Symbols of the longest piece.
    """

    bases: npt.NDArray[np.int64]
    owners: npt.NDArray[np.int64]
    tokens: npt.NDArray[np.int64]
    depth: int


_Children = dict[int, "_Children | int"]
"""What each symbol leads to; under `NOTHING`, the token of the piece that ends there."""


def trie_of(tokenizer: WordPiece, symbols: Symbols) -> Trie:
    """All pieces of `tokenizer`, out of `symbols`."""
    words: _Children = {}
    continued: _Children = {}
    depth = 1
    for piece, token in tokenizer.pieces.items():
        goes_on = piece.startswith(CONTINUED) and len(piece) > len(CONTINUED)
        node: Any = continued if goes_on else words  # mypy can't follow a type that has itself
        letters = piece.removeprefix(CONTINUED) if goes_on else piece
        depth = max(depth, len(letters))
        for letter in letters:
            node = node.setdefault(symbols.known[letter], {})
        node[NOTHING] = token
    return _laid_out({WORD_ROOT: words, CONTINUED_ROOT: continued}, symbols.count, depth)


def _laid_out(roots: Mapping[int, _Children], count: int, depth: int) -> Trie:
    bases: dict[int, int] = {}
    tokens: dict[int, int] = {}
    owners: dict[int, int] = {}
    room = _Room(1 + max(roots))
    waiting: list[tuple[int, Any]] = list(roots.items())
    for state, node in waiting:
        tokens[state] = node.pop(NOTHING, -1)
        if node:
            base = room.base_for(list(node))
            bases[state] = base
            owners |= {base + symbol: state for symbol in node}
            waiting += [(base + symbol, child) for symbol, child in node.items()]
    size = max(owners) + count
    return Trie(_array(bases, size, 0), _array(owners, size, -1), _array(tokens, size, -1), depth)


class _Room:
    """Places of a double array that are free.

    Args:
        taken: The first ones, which are not.
    """

    def __init__(self, taken: int) -> None:
        self._free = bytearray(b"\0" * taken)
        self._first = taken

    def base_for(self, symbols: Sequence[int]) -> int:
        """A low base from which all `symbols` lead to free places, now taken."""
        lowest = min(symbols)
        place = self._first = self._next(self._first)
        while place < lowest or not all(self._at(place - lowest + each) for each in symbols):
            place = self._next(place + 1)
        for symbol in symbols:
            self._free[place - lowest + symbol] = 0
        return place - lowest

    def _next(self, place: int) -> int:
        """The first free place from one on."""
        found = self._free.find(FREE, place)
        return max(place, len(self._free)) if found < 0 else found

    def _at(self, place: int) -> bool:
        if place >= len(self._free):
            self._free += bytes([FREE]) * (place + 1)
        return self._free[place] == FREE


def _array(values: Mapping[int, int], size: int, default: int) -> npt.NDArray[np.int64]:
    found = np.full(size, default, dtype=np.int64)
    found[list(values)] = list(values.values())
    return found
