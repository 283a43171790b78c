"""A version's signature: which tensors go in and out, as `signature.json` of its bundle says."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from services.common.errors import FieldViolation
from services.inference.core.errors import InvalidTensors, UnservableBundle

PROBABILITIES: Final = "probabilities"
"""What a model of classes tells, or"""
PREDICTION: Final = "prediction"
"""what one of quantities does."""

LABELS: Final = (0, 1)
"""The classes of a model that decides: its probabilities are [rows, 2]."""


_CLASSES: Final = f"{PROBABILITIES} FP32 [-1, classes]"
_QUANTITY: Final = f"a {PREDICTION} FP32 [-1, 1]"


class Datatype(StrEnum):
    """Names of the Open Inference Protocol; BF16 is not among them: numpy has no such type."""

    BOOL = "BOOL"
    UINT8 = "UINT8"
    UINT16 = "UINT16"
    UINT32 = "UINT32"
    UINT64 = "UINT64"
    INT8 = "INT8"
    INT16 = "INT16"
    INT32 = "INT32"
    INT64 = "INT64"
    FP16 = "FP16"
    FP32 = "FP32"
    FP64 = "FP64"
    BYTES = "BYTES"


DTYPES: Final[Mapping[Datatype, np.dtype[Any]]] = {
    Datatype.BOOL: np.dtype("?"),
    Datatype.UINT8: np.dtype("u1"),
    Datatype.UINT16: np.dtype("<u2"),
    Datatype.UINT32: np.dtype("<u4"),
    Datatype.UINT64: np.dtype("<u8"),
    Datatype.INT8: np.dtype("i1"),
    Datatype.INT16: np.dtype("<i2"),
    Datatype.INT32: np.dtype("<i4"),
    Datatype.INT64: np.dtype("<i8"),
    Datatype.FP16: np.dtype("<f2"),
    Datatype.FP32: np.dtype("<f4"),
    Datatype.FP64: np.dtype("<f8"),
}
"""How numbers lie in raw contents."""


@dataclass(frozen=True, slots=True)
class InputSpec:
    """One raw feature, a tensor of shape [rows, 1].

    Attributes:
        nullable: Whether NaN, or an empty text, may stand for a missing value.
        minimum: Smallest value that training saw; values below are counted, not refused.
        maximum: Largest value that training saw.
        categories: Texts that training saw; others are counted, not refused.
    """

    name: str
    datatype: Datatype
    nullable: bool
    minimum: float = -math.inf
    maximum: float = math.inf
    categories: frozenset[str] | None = None


@dataclass(frozen=True, slots=True)
class OutputSpec:
    """One output of the model; -1 stands for the number of rows.

    Attributes:
        classes: Names of the columns of probabilities; empty where nobody has named them.
    """

    name: str
    datatype: Datatype
    shape: tuple[int, ...]
    classes: tuple[str, ...] = ()


class Signature:
    """What a version takes and gives, prepared for checking requests quickly.

    FP32 inputs come first in every row block, in the order of `numeric`; texts follow
    in the order of `text`, then the inputs of all other types in the order of `other`.
    """

    def __init__(self, inputs: tuple[InputSpec, ...], outputs: tuple[OutputSpec, ...]) -> None:
        self.inputs = inputs
        self.outputs = outputs
        self.numeric = tuple(spec for spec in inputs if spec.datatype is Datatype.FP32)
        self.text = tuple(spec for spec in inputs if spec.datatype is Datatype.BYTES)
        self.other = tuple(
            spec for spec in inputs if spec.datatype not in (Datatype.FP32, Datatype.BYTES)
        )
        self.slots = {
            spec.name: (spec, position)
            for group in (self.numeric, self.text, self.other)
            for position, spec in enumerate(group)
        }
        self.output_names = tuple(spec.name for spec in outputs)
        self.told = _told(outputs)
        self.has_two_classes = self.told.shape[1:] == (len(LABELS),)
        required = [not spec.nullable for spec in self.numeric]
        self.required = np.array(required, dtype=np.bool_).reshape(len(required), 1)
        self.has_required_text = any(not spec.nullable for spec in self.text)
        self.has_other_floats = any(DTYPES[spec.datatype].kind == "f" for spec in self.other)
        self.minimum = _column([spec.minimum for spec in self.numeric])
        self.maximum = _column([spec.maximum for spec in self.numeric])

    @property
    def tells(self) -> str:
        """What its answers are, in short."""
        return "a quantity" if self.told.name == PREDICTION else f"{self.told.shape[1]} classes"

    def check_outputs(self, names: tuple[str, ...], extra: frozenset[str]) -> None:
        """Accept `names` if each is an output or one of `extra`.

        Raises:
            InvalidTensors: Naming every unknown output.
        """
        known = extra.union(self.output_names)
        if unknown := [name for name in names if name not in known]:
            raise InvalidTensors(
                [
                    FieldViolation(name, f"no such output; there are {', '.join(sorted(known))}")
                    for name in unknown
                ]
            )


def parse_signature(text: bytes) -> Signature:
    """The signature that a bundle's `signature.json` describes.

    Raises:
        UnservableBundle: It is malformed, asks for inputs that are not of a `Datatype` or of
            shape [-1, 1], tells neither FP32 [-1, classes] probabilities nor an FP32 [-1, 1]
            prediction, or names other classes.
    """
    try:
        document = json.loads(text)
        inputs = tuple(_input(item) for item in document["inputs"])
        outputs = tuple(
            OutputSpec(
                item["name"],
                Datatype(item["datatype"]),
                tuple(item["shape"]),
                tuple(map(str, item.get("classes", ()))),
            )
            for item in document["outputs"]
        )
    except (ValueError, KeyError, TypeError) as error:
        raise UnservableBundle("signature.json", f"it can't be read: {error}") from error
    if not inputs:
        raise UnservableBundle("signature.json", "it names no input")
    for group in (inputs, outputs):
        if len({spec.name for spec in group}) != len(group):
            raise UnservableBundle("signature.json", "two tensors have one name")
    _check_told(outputs)
    return Signature(inputs, outputs)


def _told(outputs: Sequence[OutputSpec]) -> OutputSpec:
    """What is told of a row: probabilities, or where there are none a quantity."""
    named = {spec.name: spec for spec in outputs}
    return named.get(PROBABILITIES) or named[PREDICTION]


def _check_told(outputs: Sequence[OutputSpec]) -> None:
    if not {PROBABILITIES, PREDICTION} & {spec.name for spec in outputs}:
        raise UnservableBundle("signature.json", f"it lacks {_CLASSES}, or {_QUANTITY}")
    found = _told(outputs)
    is_quantity = found.name == PREDICTION
    columns = found.shape[1] if len(found.shape) == 2 and found.shape[0] == -1 else 0
    fits = columns == 1 if is_quantity else columns >= len(LABELS)
    if not fits or found.datatype is not Datatype.FP32:
        raise UnservableBundle(
            "signature.json", f"it lacks {_QUANTITY if is_quantity else _CLASSES}"
        )
    if found.classes and len(set(found.classes)) != found.shape[1]:
        raise UnservableBundle(
            "signature.json",
            f"it names {len(set(found.classes))} classes for {found.shape[1]} probabilities",
        )


def _input(item: dict[str, Any]) -> InputSpec:
    if item["datatype"] not in set(Datatype) or list(item["shape"]) != [-1, 1]:
        raise ValueError(
            f"input {item['name']!r} is {item['datatype']} {item['shape']}; "
            f"it must be {'/'.join(Datatype)} [-1, 1]"
        )
    datatype = Datatype(item["datatype"])
    if item["nullable"] and datatype is not Datatype.BYTES and DTYPES[datatype].kind != "f":
        raise ValueError(f"input {item['name']!r} is nullable; no {datatype} says what is missing")
    minimum, maximum, categories = (
        item.get("minimum"),
        item.get("maximum"),
        item.get("categories"),
    )
    return InputSpec(
        name=str(item["name"]),
        datatype=datatype,
        nullable=bool(item["nullable"]),
        minimum=-math.inf if minimum is None else float(minimum),
        maximum=math.inf if maximum is None else float(maximum),
        categories=None if categories is None else frozenset(map(str, categories)),
    )


def _column(values: list[float]) -> NDArray[np.float32]:
    return np.array(values, dtype=np.float32).reshape(len(values), 1)
