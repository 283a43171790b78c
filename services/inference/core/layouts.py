"""Requests that differ in their values alone: what is known of one holds for all.

Checking names, types and shapes of thirty tensors costs more than running them. Clients ask for
the same tensors again and again, so the check is made once per layout and signature.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from services.inference.core.rows import Rows, WireTensor, check_values, parse_rows
from services.inference.core.signature import Datatype, Signature
from services.inference.core.wire import decoded_texts

_MAX_PLANS: Final = 16
"""Signatures that one layout is kept for: the versions of the endpoints that share it."""


@dataclass(frozen=True, slots=True)
class _Plan:
    """Where each of a signature's inputs stands in a request.

    Attributes:
        signature: Kept alive, since the plan goes by its identity.
        numeric: Position among the request's FP32 tensors; None means they agree.
        text: Position among the request's BYTES tensors.
    """

    signature: Signature
    numeric: NDArray[np.intp] | None
    text: tuple[int, ...]


class TensorLayout:
    """Tensors of shape [rows, 1], each FP32 or BYTES, without their values.

    Args:
        tensors: Name and type of each, in the order of the request.
        count: Rows, above 0.
    """

    def __init__(self, tensors: Sequence[tuple[str, Datatype]], count: int) -> None:
        self.tensors = tuple(tensors)
        self.count = count
        self._plans: dict[int, _Plan | None] = {}

    def plan(self, signature: Signature) -> _Plan | None:
        """How to read rows of `signature`; None if the layout does not fit it."""
        key = id(signature)
        plan = self._plans.get(key)
        if plan is None and key not in self._plans:
            if len(self._plans) >= _MAX_PLANS:
                self._plans.clear()
            plan = self._plans[key] = self._planned(signature)
        elif plan is not None and plan.signature is not signature:
            plan = self._plans[key] = self._planned(signature)
        return plan

    def _planned(self, signature: Signature) -> _Plan | None:
        if sorted(self.tensors) != sorted((spec.name, spec.datatype) for spec in signature.inputs):
            return None
        names = {
            datatype: [name for name, given in self.tensors if given is datatype]
            for datatype in (Datatype.FP32, Datatype.BYTES)
        }
        numeric = [names[Datatype.FP32].index(spec.name) for spec in signature.numeric]
        return _Plan(
            signature,
            None if numeric == list(range(len(numeric))) else np.array(numeric, dtype=np.intp),
            tuple(names[Datatype.BYTES].index(spec.name) for spec in signature.text),
        )


@dataclass(frozen=True, slots=True)
class PackedTensors:
    """A request's values, in a known layout.

    Attributes:
        numeric: float32 [FP32 tensors of the request, rows].
        text: Raw contents of each BYTES tensor of the request.
        source: See `Rows`.
    """

    layout: TensorLayout
    numeric: NDArray[np.float32]
    text: Sequence[bytes]
    source: tuple[bytes, int] | None = None

    def rows(self, signature: Signature, *, max_rows: int) -> Rows:
        """See `RowSource`."""
        layout = self.layout
        plan = layout.plan(signature)
        if plan is None or layout.count > max_rows:
            return self._parsed(signature, max_rows)
        try:
            text = tuple([decoded_texts(self.text[i], layout.count) for i in plan.text])
        except ValueError:
            return self._parsed(signature, max_rows)
        numeric = self.numeric if plan.numeric is None else self.numeric[plan.numeric]
        rows = Rows(layout.count, numeric, text, self.source)
        check_values(signature, rows)
        return rows

    def _parsed(self, signature: Signature, max_rows: int) -> Rows:
        """By the long way, which names every fault."""
        numbers, texts = iter(self.numeric), iter(self.text)
        tensors = [
            WireTensor(
                name,
                datatype,
                (self.layout.count, 1),
                next(numbers).tobytes() if datatype is Datatype.FP32 else next(texts),
            )
            for name, datatype in self.layout.tensors
        ]
        return parse_rows(signature, tensors, max_rows=max_rows)
