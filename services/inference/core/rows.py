"""A request's rows, checked against a signature and packed for running and logging."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from services.common.errors import FieldViolation
from services.inference.core.errors import InvalidTensors
from services.inference.core.signature import DTYPES, Datatype, InputSpec, Signature
from services.inference.core.wire import decoded_texts

Tensors = dict[str, NDArray[Any]]


@dataclass(frozen=True, slots=True)
class WireTensor:
    """An input as it came over the wire.

    Attributes:
        data: Row-major little-endian values; BYTES elements each follow their
            length as uint32 (the protocol's raw representation).
    """

    name: str
    datatype: str
    shape: tuple[int, ...]
    data: bytes


@dataclass(frozen=True, slots=True)
class Rows:
    """Checked feature rows: a line of `numeric`, a list of `text` or an array per feature.

    Attributes:
        numeric: float32 [numeric features, rows]; NaN is missing.
        text: One list of `rows` strings per text feature; '' is missing.
        source: A serialized request and where in it the same rows are described, up to its
            end; a runtime that speaks the protocol may pass those bytes on. None: there is none.
        other: One array [rows] per feature of another type, of that type; NaN is missing.
    """

    count: int
    numeric: NDArray[np.float32]
    text: tuple[list[str], ...]
    source: tuple[bytes, int] | None = None
    other: tuple[NDArray[Any], ...] = ()

    def first(self) -> Rows:
        """The first row alone."""
        return self.part(0, 1)

    def part(self, first: int, last: int) -> Rows:
        """The rows from `first` up to `last`, exclusive."""
        return Rows(
            last - first,
            self.numeric[:, first:last],
            tuple([values[first:last] for values in self.text]),
            other=tuple([values[first:last] for values in self.other]),
        )

    @property
    def size_bytes(self) -> int:
        """Memory of the values, texts by their characters."""
        size: int = self.numeric.nbytes
        for values in self.text:
            for value in values:
                size += len(value)
        for array in self.other:
            size += array.nbytes
        return size

    def feeds(self, signature: Signature) -> Tensors:
        """The model's inputs by name: [rows, 1], texts as objects."""
        feeds: Tensors = {
            spec.name: line
            for spec, line in zip(signature.numeric, self.numeric[:, :, None], strict=True)
        }
        for spec, values in zip(signature.text, self.text, strict=True):
            column = np.empty((self.count, 1), dtype=np.object_)
            column[:, 0] = values
            feeds[spec.name] = column
        for spec, array in zip(signature.other, self.other, strict=True):
            feeds[spec.name] = array[:, None]
        return feeds

    def out_of_range(self, signature: Signature) -> int:
        """How many values lie outside what training saw."""
        numeric = self.numeric
        outside = int(
            np.count_nonzero(numeric < signature.minimum)
            + np.count_nonzero(numeric > signature.maximum)
        )
        for spec, values in zip(signature.text, self.text, strict=True):
            if (known := spec.categories) is not None:
                for value in values:
                    if value and value not in known:
                        outside += 1
        for spec, array in zip(signature.other, self.other, strict=True):
            outside += int(np.count_nonzero((array < spec.minimum) | (array > spec.maximum)))
        return outside


class RowSource(Protocol):
    """A request's rows, not yet checked against a signature."""

    def rows(self, signature: Signature, *, max_rows: int) -> Rows:
        """The rows, packed.

        Raises:
            InvalidTensors: As `parse_rows`.
        """
        ...


@dataclass(frozen=True, slots=True)
class LooseTensors:
    """Tensors of which nothing is known beforehand."""

    tensors: Sequence[WireTensor]

    def rows(self, signature: Signature, *, max_rows: int) -> Rows:
        """See `RowSource`."""
        return parse_rows(signature, self.tensors, max_rows=max_rows)


def joined(blocks: Sequence[Rows]) -> Rows:
    """All rows of `blocks` in order; they share one signature."""
    if len(blocks) == 1:
        return blocks[0]
    columns, others = range(len(blocks[0].text)), range(len(blocks[0].other))
    return Rows(
        count=sum(block.count for block in blocks),
        numeric=np.concatenate([block.numeric for block in blocks], axis=1),
        text=tuple([value for block in blocks for value in block.text[i]] for i in columns),
        other=tuple([np.concatenate([block.other[i] for block in blocks]) for i in others]),
    )


def parse_rows(signature: Signature, tensors: Sequence[WireTensor], *, max_rows: int) -> Rows:
    """Pack `tensors` into rows.

    Raises:
        InvalidTensors: Naming every tensor that is unknown, repeated, missing,
            of a wrong type, shape or length, infinite, missing a value that
            it may not miss, or of another row count than the first.
    """
    numeric: list[bytes] = [b""] * len(signature.numeric)
    text: list[list[str]] = [[]] * len(signature.text)
    other: list[NDArray[Any]] = [np.empty(0)] * len(signature.other)
    count = tensors[0].shape[0] if tensors and tensors[0].shape else 0
    faults: list[FieldViolation] = []
    if not 0 < count <= max_rows:
        subject = tensors[0].name if tensors else "inputs"
        raise InvalidTensors(
            [FieldViolation(subject, f"has {count} rows; 1 to {max_rows} are allowed")]
        )
    seen = set()
    for tensor in tensors:
        slot = signature.slots.get(tensor.name)
        fault = _fault(tensor, None if slot is None else slot[0], count)
        if tensor.name in seen:
            fault = "is given twice"
        if fault or slot is None:
            faults.append(FieldViolation(tensor.name, fault))
            continue
        seen.add(tensor.name)
        spec, position = slot
        if spec.datatype is Datatype.FP32:
            numeric[position] = tensor.data
            continue
        if spec.datatype is not Datatype.BYTES:
            other[position] = np.frombuffer(tensor.data, DTYPES[spec.datatype])
            continue
        try:
            text[position] = decoded_texts(tensor.data, count)
        except ValueError as error:
            faults.append(FieldViolation(tensor.name, str(error)))
    if len(seen) < len(signature.inputs):
        given = {tensor.name for tensor in tensors}
        faults += [
            FieldViolation(spec.name, "is missing")
            for spec in signature.inputs
            if spec.name not in given
        ]
    if faults:
        raise InvalidTensors(faults)
    matrix = np.frombuffer(b"".join(numeric), dtype="<f4").reshape(len(numeric), count)
    rows = Rows(count, matrix, tuple(text), other=tuple(other))
    check_values(signature, rows)
    return rows


def check_values(signature: Signature, rows: Rows) -> None:
    """Accept rows that hold no infinity, and nothing missing where it may not.

    Raises:
        InvalidTensors: Naming every input at fault.
    """
    numeric = rows.numeric
    # Counting takes a fraction of the time that `all` and `any` take on few values.
    all_finite = np.count_nonzero(np.isfinite(numeric)) == numeric.size
    if all_finite and not (signature.has_required_text or signature.has_other_floats):
        return
    if faults := [
        *_numeric_faults(signature, rows),
        *_text_faults(signature, rows),
        *_other_faults(signature, rows),
    ]:
        raise InvalidTensors(faults)


def _fault(tensor: WireTensor, spec: InputSpec | None, count: int) -> str:
    """What is wrong with the tensor's description; '' if nothing is."""
    if spec is None:
        return "is not an input of this version"
    if tensor.datatype != spec.datatype:
        return f"is {tensor.datatype}; it must be {spec.datatype}"
    if tensor.shape != (count, 1):
        return f"has shape {list(tensor.shape)}; it must be [{count}, 1]"
    if spec.datatype is Datatype.BYTES:
        return ""
    size = count * DTYPES[spec.datatype].itemsize
    if len(tensor.data) != size:
        return f"has {len(tensor.data)} bytes; {count} rows take {size}"
    if spec.datatype is Datatype.BOOL and max(tensor.data) > 1:
        return "holds a byte that is neither 0 nor 1"
    return ""


def _numeric_faults(signature: Signature, rows: Rows) -> Iterator[FieldViolation]:
    numeric = rows.numeric
    missing = np.count_nonzero(np.isnan(numeric))
    finite = np.count_nonzero(np.isfinite(numeric))
    if missing + finite == numeric.size and not (
        missing and np.count_nonzero(np.isnan(numeric) & signature.required)
    ):
        return
    for spec, line in zip(signature.numeric, numeric, strict=True):
        yield from _float_faults(spec, line)


def _other_faults(signature: Signature, rows: Rows) -> Iterator[FieldViolation]:
    for spec, array in zip(signature.other, rows.other, strict=True):
        if array.dtype.kind == "f":
            yield from _float_faults(spec, array)


def _float_faults(spec: InputSpec, values: NDArray[Any]) -> Iterator[FieldViolation]:
    if np.isinf(values).any():
        yield FieldViolation(spec.name, "holds an infinity")
    elif not spec.nullable and np.isnan(values).any():
        yield FieldViolation(spec.name, "holds NaN; it is not nullable")


def _text_faults(signature: Signature, rows: Rows) -> Iterator[FieldViolation]:
    if not signature.has_required_text:
        return
    for spec, values in zip(signature.text, rows.text, strict=True):
        if not spec.nullable and "" in values:
            yield FieldViolation(spec.name, "holds an empty text; it is not nullable")
