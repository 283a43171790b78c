"""Made-up rows for warming a model up, and the check of what it answers."""

from __future__ import annotations

import math

import numpy as np

from services.inference.core.errors import UnservableBundle
from services.inference.core.rows import Rows, Tensors
from services.inference.core.signature import (
    DTYPES,
    PREDICTION,
    PROBABILITIES,
    InputSpec,
    Signature,
)


def sample_rows(signature: Signature, count: int) -> Rows:
    """`count` equal rows of values that training could have seen."""
    values = [[_sample(spec)] * count for spec in signature.numeric]
    texts = tuple([min(spec.categories or ("other",))] * count for spec in signature.text)
    numeric = np.array(values, dtype=np.float32).reshape(len(values), count)
    other = tuple(
        np.array([_sample(spec)] * count).astype(DTYPES[spec.datatype]) for spec in signature.other
    )
    return Rows(count, numeric, texts, other=other)


def check_answer(signature: Signature, outputs: Tensors, count: int) -> None:
    """Accept `outputs` for `count` rows if they are what the signature promises.

    Raises:
        UnservableBundle: An output is absent, has another type or shape, or
            the probabilities or the prediction are none.
    """
    for spec in signature.outputs:
        array = outputs.get(spec.name)
        if array is None:
            raise UnservableBundle("model.onnx", f"gives no output {spec.name!r}")
        shape = tuple(count if size == -1 else size for size in spec.shape)
        if array.shape != shape:
            raise UnservableBundle(
                "model.onnx", f"gives {spec.name!r} of shape {array.shape}, not {shape}"
            )
        if spec.datatype in DTYPES and array.dtype != DTYPES[spec.datatype]:
            raise UnservableBundle(
                "model.onnx", f"gives {spec.name!r} as {array.dtype}, not {spec.datatype}"
            )
    told = outputs[signature.told.name]
    if signature.told.name == PREDICTION and not np.isfinite(told).all():
        raise UnservableBundle("model.onnx", "gives a prediction that is no finite number")
    if signature.told.name == PROBABILITIES and not ((told >= 0.0) & (told <= 1.0)).all():
        raise UnservableBundle("model.onnx", "gives probabilities outside [0, 1]")


def _sample(spec: InputSpec) -> float:
    return spec.minimum if math.isfinite(spec.minimum) else 0.0
