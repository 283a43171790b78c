"""Texts into the tokens that a pretrained encoder knows, as BERT's own tokenizer cuts them.

Imports no learning library. Texts are cut as Hugging Face's `tokenizers` cuts them (BertNormalizer,
BertPreTokenizer, WordPiece), but for three things: the name of a special token in a text, such as
`[SEP]`, is text like any other; what lies beyond 16 characters for each token is not read; and what
a character is, Python's `unicodedata` says, where a private one is part of a word.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt

CONTINUED: Final = "##"
"""Begins the pieces that go on with a word."""

CHUNK_CHARACTERS: Final = 256
"""What the graph reads at a time: patterns of more make its regular expressions slow."""

TOKENS_OF_A_CHUNK: Final = 16
"""Tokens for which one chunk is read: 16 characters each, four times what English takes."""

_BREAKS: Final = frozenset("\t\n\r")
_UNSEEN: Final = frozenset({"Cc", "Cf"})
"""Categories of characters that are left out: controls and marks of format."""
_ASCII_PUNCTUATION: Final = frozenset("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~")
_IDEOGRAPHS: Final = (
    (0x3400, 0x4DBF),
    (0x4E00, 0x9FFF),
    (0xF900, 0xFAFF),
    (0x20000, 0x2A6DF),
    (0x2A700, 0x2B73F),
    (0x2B740, 0x2B81F),
    (0x2B920, 0x2CEAF),
    (0x2F800, 0x2FA1F),
)
"""First and last of each block that `tokenizers` takes for Chinese (BertNormalizer)."""

LAST_IDEOGRAPH: Final = chr(_IDEOGRAPHS[-1][1])


class UnknownTokenizer(ValueError):
    """A `tokenizer.json` of another kind; its text says what is wanted."""


@dataclass(frozen=True, eq=False)
class WordPiece:
    """A tokenizer.

    Attributes:
        pieces: The token of each piece; those that go on with a word begin with `##`.
        unknown: Stands for a word that no pieces make.
        begin: Before every text.
        end: After every text.
        padding: After the end, up to the width.
        lowercase: Whether capitals are made small.
        strips_accents: Whether accents are left out.
        isolates_ideographs: Whether each Chinese character is a word of its own.
        longest_word: Characters from which on a word is unknown.
    """

    pieces: Mapping[str, int]
    unknown: int
    begin: int
    end: int
    padding: int
    lowercase: bool
    strips_accents: bool
    isolates_ideographs: bool
    longest_word: int
    _characters: dict[str, str] = field(default_factory=dict, init=False, repr=False)
    _words: dict[str, tuple[int, ...]] = field(default_factory=dict, init=False, repr=False)

    def rows(self, texts: Iterable[str], width: int) -> npt.NDArray[np.float32]:
        """float32 [texts, width]: the tokens of each, `begin` first, `end` last, then `padding`."""
        limit = characters_read(width)
        found = [self._tokens(text[:limit], width) for text in texts]
        rows = np.full((len(found), width), self.padding, dtype=np.float32)
        for row, tokens in zip(rows, found, strict=True):
            row[: len(tokens)] = tokens
        return rows

    def normalized(self, character: str) -> str:
        """What becomes of a character: nothing, a space, or what a word is made of."""
        category = unicodedata.category(character)
        if character in _BREAKS or category.startswith("Z"):
            return " "
        if category in _UNSEEN or character == "\N{REPLACEMENT CHARACTER}":
            return ""
        if self.strips_accents:
            parts = unicodedata.normalize("NFD", character)
            character = "".join(part for part in parts if unicodedata.category(part) != "Mn")
        return "".join(map(str.lower, character)) if self.lowercase else character

    def stands_alone(self, symbol: str) -> bool:
        """Whether a normalised character is a word of its own."""
        if symbol in _ASCII_PUNCTUATION or unicodedata.category(symbol).startswith("P"):
            return True
        place = ord(symbol)
        return self.isolates_ideographs and any(low <= place <= up for low, up in _IDEOGRAPHS)

    def _tokens(self, text: str, width: int) -> list[int]:
        tokens = [self.begin]
        for word in self._split(text):
            if len(tokens) >= width - 1:
                break
            tokens += self._pieces_of(word)
        return [*tokens[: width - 1], self.end]

    def _split(self, text: str) -> Iterator[str]:
        return iter("".join(map(self._spaced, text)).split(" "))

    def _spaced(self, character: str) -> str:
        """`normalized`, with spaces around what stands alone."""
        found = self._characters.get(character)
        if found is None:
            symbols = self.normalized(character)
            found = "".join(
                f" {each} " if each != " " and self.stands_alone(each) else each for each in symbols
            )
            self._characters[character] = found
        return found

    def _pieces_of(self, word: str) -> tuple[int, ...]:
        found = self._words.get(word)
        if found is None:
            found = self._cut(word)
            self._words[word] = found
        return found

    def _cut(self, word: str) -> tuple[int, ...]:
        """The longest piece first, then the longest that goes on with it, to the end."""
        if len(word) > self.longest_word:
            return (self.unknown,)
        tokens: list[int] = []
        start = 0
        while start < len(word):
            prefix = CONTINUED if start else ""
            ends = range(len(word), start, -1)
            known = (end for end in ends if prefix + word[start:end] in self.pieces)
            end = next(known, None)
            if end is None:
                return (self.unknown,)
            tokens.append(self.pieces[prefix + word[start:end]])
            start = end
        return tuple(tokens)


def characters_read(width: int) -> int:
    """Characters of a text that are read for `width` tokens."""
    return chunks_read(width) * CHUNK_CHARACTERS


def chunks_read(width: int) -> int:
    """Chunks of a text that are read for `width` tokens."""
    return -(-width // TOKENS_OF_A_CHUNK)


def word_piece_from(content: bytes) -> WordPiece:
    """The tokenizer of a `tokenizer.json` as Hugging Face lays it out.

    Raises:
        UnknownTokenizer: It is no WordPiece of BERT's.
    """
    try:
        document = json.loads(content)
        model, normalizer = document["model"], document["normalizer"]
        _check_kind(document)
        special = {each["content"]: int(each["id"]) for each in document["added_tokens"]}
        lowercase = bool(normalizer["lowercase"])
        accents = normalizer["strip_accents"]
        return WordPiece(
            pieces={str(piece): int(token) for piece, token in model["vocab"].items()},
            unknown=int(model["vocab"][model["unk_token"]]),
            begin=special["[CLS]"],
            end=special["[SEP]"],
            padding=special["[PAD]"],
            lowercase=lowercase,
            strips_accents=lowercase if accents is None else bool(accents),
            isolates_ideographs=bool(normalizer["handle_chinese_chars"]),
            longest_word=int(model["max_input_chars_per_word"]),
        )
    except UnknownTokenizer:
        raise
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UnknownTokenizer(f"tokenizer.json can't be read: {error!r}") from error


def _check_kind(document: Mapping[str, Any]) -> None:  # JSON
    model, normalizer = document["model"], document["normalizer"]
    told = {
        "model.type": (model["type"], "WordPiece"),
        "model.continuing_subword_prefix": (model["continuing_subword_prefix"], CONTINUED),
        "normalizer.type": (normalizer["type"], "BertNormalizer"),
        "normalizer.clean_text": (normalizer["clean_text"], True),
        "pre_tokenizer.type": (document["pre_tokenizer"]["type"], "BertPreTokenizer"),
    }
    for name, (found, wanted) in told.items():
        if found != wanted:
            raise UnknownTokenizer(f"tokenizer.json has {name} {found!r}; it must be {wanted!r}")
