"""`WordPiece` as a transformer, and as nodes that every ONNX Runtime has.

The graph cuts all texts of a request at once. Each character becomes a symbol by a table; at every
place the longest piece that begins there is found by walking down all pieces, one character at a
time; and the pieces that make a word are told from those that don't by following each place to the
next, then to the one after the next but one, and so on, in steps that double.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt
import pandas as pd
from skl2onnx import update_registered_converter
from skl2onnx.common.data_types import FloatTensorType
from sklearn.base import BaseEstimator, TransformerMixin

from services.trainer.adapters.learning.nodes import Nodes
from services.trainer.adapters.learning.recipe import Matrix
from services.trainer.adapters.learning.wordpiece import (
    CHUNK_CHARACTERS,
    WordPiece,
    chunks_read,
)
from services.trainer.adapters.learning.wordpiece_tables import (
    CONTINUED_ROOT,
    DEAD,
    NOTHING,
    SPACE,
    UNKNOWN,
    WORD_ROOT,
    symbols_of,
    trie_of,
)


class TextTokens(TransformerMixin, BaseEstimator):  # type: ignore[misc]  # untyped bases
    """A column of texts into float32 [rows, max_tokens] of tokens.

    Args:
        tokenizer: Cuts them; it has learned all that it knows.
        max_tokens: Of a text, those that the tokenizer puts around it included.
    """

    def __init__(self, tokenizer: WordPiece, max_tokens: int) -> None:
        self.tokenizer = tokenizer
        self.max_tokens = max_tokens

    def __sklearn_clone__(self) -> Self:
        """Itself: there is nothing that a fit could change."""
        return self

    def __sklearn_is_fitted__(self) -> bool:
        """Always."""
        return True

    def fit(self, _texts: pd.DataFrame, _label: object = None) -> Self:
        """Itself."""
        return self

    def transform(self, texts: pd.DataFrame) -> Matrix:
        """float32 [rows, max_tokens] of a frame with one column."""
        return self.tokenizer.rows(texts.iloc[:, 0], self.max_tokens)


def _whole(*values: int) -> npt.NDArray[np.int64]:
    return np.array(values, dtype=np.int64)


ALONG = _whole(1)
"""The axis along a text."""

END = _whole(np.iinfo(np.int64).max)
INT64: Final = 7


class _Cutting:
    """Adds the nodes that cut texts. Their tensors are [texts, places], int64 or bool."""

    def __init__(self, nodes: Nodes, tokenizer: WordPiece, width: int) -> None:
        self._add = nodes
        self._tokenizer = tokenizer
        self._width = width
        self._symbols = symbols_of(tokenizer)
        self._trie = trie_of(tokenizer, self._symbols)

    def tokens(self, texts: str) -> str:
        """int64 [texts, width] for strings [texts, 1]."""
        add = self._add
        symbols = self._without_nothing(self._symbols_in(texts))
        alone = add("Gather", self._symbols.alone, symbols, axis=0)
        letter = add("And", add("Not", alone), add("Greater", symbols, _whole(SPACE)))
        before = add("Pad", letter, _whole(0, 1, 0, 0), np.array(False))
        continued = add("And", letter, self._left(before, -1))
        begins = add("And", add("Or", alone, letter), add("Not", continued))
        token, length = self._longest_pieces(symbols, begins, continued)
        jumps = self._jumps(length, continued)
        whole = add("And", begins, self._is_whole(jumps[-1], continued))
        told = add("Or", begins, self._reached(whole, jumps[:-1]))
        broken = add("And", begins, add("Not", whole))
        token = add("Where", broken, _whole(self._tokenizer.unknown), token)
        return self._laid_out(token, told)

    def _symbols_in(self, texts: str) -> str:
        """The symbols of each character, side by side; `NOTHING` where it has fewer than most."""
        add = self._add
        cut = {"mark": 0, "mincharnum": 1, "pad_value": ""}
        # With a space at the end, which makes no token, there is a chunk of the shortest text.
        ended = add("StringConcat", texts, np.array([" "], dtype=object))
        pattern = f"(?s).{{1,{CHUNK_CHARACTERS}}}"
        chunks = add.beyond("Tokenizer", add("Reshape", ended, _whole(-1)), tokenexp=pattern, **cut)
        chunks = self._left(chunks, chunks_read(self._width))
        characters = add.beyond("Tokenizer", chunks, separators=[""], **cut)
        codes = add.learned(
            "LabelEncoder",
            add("Reshape", characters, _whole(0, -1)),
            keys_strings=list(self._symbols.codes),
            values_int64s=list(self._symbols.codes.values()),
            default_int64=UNKNOWN,
        )
        base = self._symbols.count
        digits = [
            add("Mod", add("Div", codes, _whole(base**at)), _whole(base))
            for at in range(self._symbols.most)
        ]
        apart = [add("Unsqueeze", digit, _whole(2)) for digit in digits]
        return add("Reshape", add("Concat", *apart, axis=2), _whole(0, -1))

    def _without_nothing(self, symbols: str) -> str:
        """The symbols with every `NOTHING` at the end, where only the longest text has none."""
        add = self._add
        kept = add("Greater", symbols, _whole(NOTHING))
        order = add("CumSum", add("Cast", kept, to=INT64), np.array(1))
        place = add("Where", kept, add("Sub", order, _whole(1)), self._places(symbols))
        room = add("Expand", _whole(NOTHING), add("Add", add("Shape", symbols), _whole(0, 1)))
        packed = add("ScatterElements", room, place, symbols, axis=1)
        longest = add("Reshape", add("ReduceMax", order, keepdims=0), _whole(1))
        return add("Slice", packed, _whole(0), add("Max", longest, _whole(1)), ALONG)

    def _longest_pieces(self, symbols: str, begins: str, continued: str) -> tuple[str, str]:
        """The longest piece from each place on: its token, and its symbols or 0 where is none."""
        add, depth = self._add, self._trie.depth
        later = add("Where", continued, symbols, _whole(NOTHING))
        later = add("Pad", later, _whole(0, 0, 0, depth))
        state = add("Where", continued, _whole(CONTINUED_ROOT), _whole(DEAD))
        state = add("Where", begins, _whole(WORD_ROOT), state)
        token = length = add("Mul", symbols, _whole(0))
        for at in range(depth):
            bounds = _whole(at), _whole(at - depth)
            here = add("Slice", later, *bounds, ALONG) if at else symbols
            target = add("Add", add("Gather", self._trie.bases, state, axis=0), here)
            owner = add("Gather", self._trie.owners, target, axis=0)
            state = add("Where", add("Equal", owner, state), target, _whole(DEAD))
            found = add("Gather", self._trie.tokens, state, axis=0)
            ends = add("GreaterOrEqual", found, _whole(0))
            token = add("Where", ends, found, token)
            length = add("Where", ends, _whole(at + 1), length)
        return token, length

    def _jumps(self, length: str, continued: str) -> list[str]:
        """Where 1, 2, 4, ... pieces from each place on end, up to the longest word.

        [texts, places + 2]: a word that has ended is in the place after the last, and one that no
        piece goes on with in the one after that; from there, all jumps end where they began.
        """
        add = self._add
        places = self._places(length)
        whole, broken = places, add("Add", places, np.array(1))
        after = add("Add", add("Range", np.array(0), places, np.array(1)), length)
        goes_on = add("Pad", continued, _whole(0, 0, 0, 1), np.array(False))
        goes_on = add("GatherElements", goes_on, after, axis=1)
        after = add("Where", goes_on, after, whole)
        after = add("Where", add("Equal", length, _whole(0)), broken, after)
        ends = add(
            "Reshape",
            add("Range", whole, add("Add", broken, np.array(1)), np.array(1)),
            _whole(1, -1),
        )
        texts = add("Slice", add("Shape", length), _whole(0), _whole(1))
        ends = add("Expand", ends, add("Concat", texts, _whole(2), axis=0))
        jumps = [add("Concat", after, ends, axis=1)]
        for _ in range(math.ceil(math.log2(self._tokenizer.longest_word))):
            jumps.append(add("GatherElements", jumps[-1], jumps[-1], axis=1))
        return jumps

    def _is_whole(self, last: str, continued: str) -> str:
        """Whether pieces make the whole word that begins at a place."""
        add, longest = self._add, self._tokenizer.longest_word
        padded = add("Pad", add("Cast", continued, to=INT64), _whole(0, 0, 0, longest))
        counted = add("CumSum", padded, np.array(1))
        later = add("Slice", counted, _whole(longest), END, ALONG)
        more = add("Sub", later, self._left(counted, -longest))
        short = add("Less", more, _whole(longest))
        return add("And", short, add("Equal", self._left(last, -2), self._places(continued)))

    def _reached(self, whole: str, jumps: Sequence[str]) -> str:
        """Where the pieces of whole words begin."""
        add = self._add
        reached = add("Pad", add("Cast", whole, to=INT64), _whole(0, 0, 0, 2))
        for jump in jumps:
            reached = add("ScatterElements", reached, jump, reached, axis=1, reduction="max")
        return add("Greater", self._left(reached, -2), _whole(0))

    def _laid_out(self, token: str, told: str) -> str:
        """The tokens that are told, with those of the tokenizer, up to the width."""
        add, known, width = self._add, self._tokenizer, self._width
        order = add("CumSum", add("Cast", told, to=INT64), np.array(1))
        fits = add("And", told, add("LessOrEqual", order, _whole(width - 2)))
        place = add("Where", fits, order, _whole(width))
        texts = add("Slice", add("Shape", token), _whole(0), _whole(1))
        room = add("Expand", _whole(known.padding), add("Concat", texts, _whole(width + 1), axis=0))
        laid = self._left(add("ScatterElements", room, place, token, axis=1), width)
        count = add("Slice", order, _whole(-1), END, ALONG)
        last = add("Add", add("Min", count, _whole(width - 2)), _whole(1))
        slots = np.arange(width, dtype=np.int64).reshape(1, -1)
        laid = add("Where", add("Equal", slots, last), _whole(known.end), laid)
        return add("Where", slots == 0, _whole(known.begin), laid)

    def _places(self, tensor: str) -> str:
        """How many places there are, a single number."""
        return self._add("Gather", self._add("Shape", tensor), np.array(1), axis=0)

    def _left(self, tensor: str, places: int) -> str:
        """The first so many places; all but so many of the last where it is below 0."""
        return self._add("Slice", tensor, _whole(0), _whole(places), ALONG)


def _shapes(operator: Any) -> None:
    operator.outputs[0].type = FloatTensorType([None, operator.raw_operator.max_tokens])


def _convert(scope: Any, operator: Any, container: Any) -> None:
    tokens: TextTokens = operator.raw_operator
    add = Nodes(scope, container)
    cut = _Cutting(add, tokens.tokenizer, tokens.max_tokens).tokens(operator.inputs[0].full_name)
    add("Cast", cut, to=1, output=operator.outputs[0].full_name)


def register_tokens_converter() -> None:
    """Teach skl2onnx to convert `TextTokens`; again is harmless."""
    update_registered_converter(TextTokens, "RoundhouseTextTokens", _shapes, _convert)
