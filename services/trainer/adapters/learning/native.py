"""What a later job needs to go on from a model: its weights and preprocessing, without a pickle.

Imports no learning library.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from services.trainer.core.regression import TargetScale

WEIGHTS_FILE: Final = "weights.safetensors"
"""Of a version's bundle."""

Tensors = Mapping[str, npt.NDArray[Any]]  # each recipe has its own dtypes


@dataclass(frozen=True, slots=True)
class EncoderState:
    """What a fitted encoder has learned, features in their order.

    Attributes:
        medians: Of each numeric feature.
        means: Of each numeric feature; empty where the encoding scales none.
        scales: As `means`.
        categories: Of each categorical feature, in the order of their columns or codes.
    """

    medians: Mapping[str, float]
    means: Mapping[str, float]
    scales: Mapping[str, float]
    categories: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, eq=False)
class NativeModel:
    """A model that can be trained further.

    Attributes:
        algorithm: Recipe that made it, and alone can read the tensors.
        tensors: By name.
        encoder: Of the rows that it takes.
        scale: Of the quantities that it tells; None of classes.
        texts: Digest of the pretrained encoder that reads each text, by feature.
    """

    algorithm: str
    tensors: Tensors
    encoder: EncoderState
    scale: TargetScale | None = None
    texts: Mapping[str, str] = field(default_factory=dict)


def native_bytes(model: NativeModel) -> bytes:
    """The model as safetensors; the same model always gives the same bytes."""
    from safetensors.numpy import save

    state = {
        "algorithm": model.algorithm,
        "encoder": asdict(model.encoder),
        **({} if model.scale is None else {"scale": asdict(model.scale)}),
        **({"texts": dict(model.texts)} if model.texts else {}),
    }
    tensors = {name: np.ascontiguousarray(values) for name, values in model.tensors.items()}
    return save(tensors, metadata={"state": json.dumps(state)})


def native_from(data: bytes) -> NativeModel:
    """The inverse of `native_bytes`."""
    from safetensors.numpy import load

    state = json.loads(safetensors_metadata(data)["state"])
    encoder = state["encoder"]
    categories = {name: tuple(values) for name, values in encoder["categories"].items()}
    return NativeModel(
        algorithm=state["algorithm"],
        tensors=load(data),
        encoder=EncoderState(**{**encoder, "categories": categories}),
        scale=TargetScale(**state["scale"]) if "scale" in state else None,
        texts=state.get("texts", {}),
    )


def safetensors_metadata(data: bytes) -> dict[str, str]:
    """The metadata of safetensors, which their library reads from files only."""
    # A header: its length as eight bytes, then a JSON object.
    length = int.from_bytes(data[:8], "little")
    metadata: dict[str, str] = json.loads(data[8 : 8 + length])["__metadata__"]
    return metadata
