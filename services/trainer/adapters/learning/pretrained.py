"""Pretrained encoders of text: BERT's, in a folder as Hugging Face lays them out.

Imports no learning library until weights are asked for. Nothing in a folder is ever run.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from services.trainer.adapters.learning.native import Tensors
from services.trainer.adapters.learning.wordpiece import (
    UnknownTokenizer,
    WordPiece,
    word_piece_from,
)

CONFIG: Final = "config.json"
TOKENIZER: Final = "tokenizer.json"
WEIGHTS: Final = "model.safetensors"

NOT_STATED: Final = "not stated"
"""The licence of an encoder whose README doesn't tell."""

_WANTED: Final = {
    "model_type": "bert",
    "hidden_act": "gelu",
    "position_embedding_type": "absolute",
}
"""What `config.json` has to say, where it says it."""


class UnusableEncoder(RuntimeError):
    """An encoder that is configured can't be used; its text says which and why."""


@dataclass(frozen=True, slots=True)
class BertShape:
    """Sizes of an encoder.

    Attributes:
        layers: Of attention.
        heads: Of each layer.
        width: Numbers of a token.
        inner: Numbers between the two steps of a layer's dense part.
        tokens: It knows.
        positions: Tokens of the longest text.
        epsilon: Added to variances.
    """

    layers: int
    heads: int
    width: int
    inner: int
    tokens: int
    positions: int
    epsilon: float


@dataclass(frozen=True, eq=False)
class Encoder:
    """A pretrained encoder, but for its weights.

    Attributes:
        name: That specs call it by.
        folder: Where it is.
        shape: Its sizes.
        tokenizer: Cuts texts for it.
        licence: As its README tells.
    """

    name: str
    folder: Path
    shape: BertShape
    tokenizer: WordPiece
    licence: str

    @property
    def digest(self) -> str:
        """SHA-256 over the digests of its three files, in the order of their names."""
        names = sorted((CONFIG, TOKENIZER, WEIGHTS))
        each = "".join(f"{_sha256(self.folder / name)}  {name}\n" for name in names)
        return f"sha256:{hashlib.sha256(each.encode()).hexdigest()}"

    def weights(self) -> Tensors:
        """float32, by the names of `weight_shapes`.

        Raises:
            UnusableEncoder: One is missing or has another shape.
        """
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        try:
            found = load_file(self.folder / WEIGHTS)
        except (OSError, SafetensorError) as error:
            raise _unusable(self.name, f"{WEIGHTS} can't be read: {error}") from error
        named = {name.removeprefix("bert."): values for name, values in found.items()}
        wanted = weight_shapes(self.shape)
        for name, shape in wanted.items():
            if name not in named or named[name].shape != shape:
                theirs = named[name].shape if name in named else "none"
                raise _unusable(self.name, f"{WEIGHTS} has {theirs} of {name}, not {shape}")
        return {name: named[name].astype(np.float32, copy=False) for name in wanted}


def weight_shapes(shape: BertShape) -> dict[str, tuple[int, ...]]:
    """The weights of an encoder by the names that BERT's have, in the order of their use."""
    width, inner = shape.width, shape.inner
    shapes: dict[str, tuple[int, ...]] = {
        "embeddings.word_embeddings.weight": (shape.tokens, width),
        "embeddings.position_embeddings.weight": (shape.positions, width),
        "embeddings.token_type_embeddings.weight": (2, width),
        **_normalization("embeddings.LayerNorm", width),
    }
    for number in range(shape.layers):
        layer = f"encoder.layer.{number}"
        for name in ("query", "key", "value"):
            shapes |= _linear(f"{layer}.attention.self.{name}", width, width)
        shapes |= _linear(f"{layer}.attention.output.dense", width, width)
        shapes |= _normalization(f"{layer}.attention.output.LayerNorm", width)
        shapes |= _linear(f"{layer}.intermediate.dense", width, inner)
        shapes |= _linear(f"{layer}.output.dense", inner, width)
        shapes |= _normalization(f"{layer}.output.LayerNorm", width)
    return shapes


def open_encoders(places: Mapping[str, str]) -> dict[str, Encoder]:
    """The encoders at `places`, by name.

    Args:
        places: A folder each: its absolute path, or `PACKAGE:FOLDER` in an installed package.

    Raises:
        UnusableEncoder: One is missing, or of a kind that isn't known.
    """
    return {name: open_encoder(name, place) for name, place in places.items()}


def open_encoder(name: str, place: str) -> Encoder:
    """One encoder; see `open_encoders`."""
    folder = _folder(name, place)
    if not (folder / WEIGHTS).is_file():
        raise _unusable(name, f"{folder} has no {WEIGHTS}; nothing else is loaded")
    try:
        config = json.loads((folder / CONFIG).read_bytes())
        shape = _shape_of(name, config)
        tokenizer = word_piece_from((folder / TOKENIZER).read_bytes())
    except (OSError, UnknownTokenizer) as error:
        raise _unusable(name, str(error)) from error
    except (ValueError, KeyError, TypeError) as error:
        raise _unusable(name, f"{CONFIG} can't be read: {error!r}") from error
    return Encoder(name, folder, shape, tokenizer, _licence(folder))


def _folder(name: str, place: str) -> Path:
    package, separator, inside = place.partition(":")
    if not separator:
        folder = Path(place)
        if not folder.is_absolute():
            raise _unusable(name, f"{place!r} is neither an absolute path nor PACKAGE:FOLDER")
        return folder
    # Without importing it: an encoder's package has more than weights.
    found = importlib.util.find_spec(package)
    if found is None or not found.submodule_search_locations:
        raise _unusable(name, f"no package {package!r} is installed")
    return Path(found.submodule_search_locations[0]) / inside


def _shape_of(name: str, config: Mapping[str, Any]) -> BertShape:  # JSON
    for key, wanted in _WANTED.items():
        if config.get(key, wanted) != wanted or "model_type" not in config:
            raise _unusable(name, f"{CONFIG} has {key} {config.get(key)!r}; it must be {wanted!r}")
    shape = BertShape(
        layers=int(config["num_hidden_layers"]),
        heads=int(config["num_attention_heads"]),
        width=int(config["hidden_size"]),
        inner=int(config["intermediate_size"]),
        tokens=int(config["vocab_size"]),
        positions=int(config["max_position_embeddings"]),
        epsilon=float(config["layer_norm_eps"]),
    )
    if shape.width % shape.heads:
        raise _unusable(name, f"{CONFIG} has {shape.heads} heads for {shape.width} numbers")
    return shape


def _licence(folder: Path) -> str:
    """`license` of the front matter of its README, as model cards have it."""
    readme = folder / "README.md"
    lines = readme.read_text(encoding="utf-8").splitlines() if readme.is_file() else []
    if lines[:1] == ["---"]:
        for line in lines[1:]:
            key, _, value = line.partition(":")
            if key == "license" and value.strip():
                return value.strip()
            if line == "---":
                break
    return NOT_STATED


def _linear(name: str, inputs: int, outputs: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)}


def _normalization(name: str, width: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _unusable(name: str, why: str) -> UnusableEncoder:
    return UnusableEncoder(f"encoder {name!r} can't be used: {why}")
