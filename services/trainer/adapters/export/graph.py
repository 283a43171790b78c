"""The winner as one ONNX graph over raw features, proved row by row against the native model."""

from __future__ import annotations

from collections.abc import Iterator
from operator import attrgetter
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper
from skl2onnx import convert_sklearn
from skl2onnx.common.data_types import FloatTensorType, StringTensorType
from sklearn.compose import ColumnTransformer
from sklearn.pipeline import Pipeline

from services.trainer.adapters.export.runtime import PREDICTION, GraphModel
from services.trainer.adapters.learning.encoding import frame
from services.trainer.adapters.learning.recipe import predicted
from services.trainer.core.failures import ExportMismatch
from services.trainer.core.regression import TargetScale
from services.trainer.core.row_changes import UNSEEN
from services.trainer.core.tables import Table

TOLERANCE = 1e-5
"""Largest difference of a probability: honest exports stay below 5e-7, silent failures pass .04.

Of a quantity, as a part of it, or of the target's deviation where that is larger.
"""

TARGET_OPSET = {"": 21, "ai.onnx.ml": 3}
EDGE_ROWS = 64
HARD_TEXTS = (
    " \t\n",
    "e\N{COMBINING ACUTE ACCENT}t\N{LATIN SMALL LETTER E WITH ACUTE} NA\N{DIAERESIS}IVE",
    "\N{CJK UNIFIED IDEOGRAPH-65E5}\N{CJK UNIFIED IDEOGRAPH-672C}\N{HANGUL SYLLABLE GAG}",
    "\N{GRINNING FACE}\N{ZERO WIDTH JOINER}\x00[SEP] ##ing",
    "x" * 300,
    "a b, " * 2000,
)
"""What tokenizers trip over: blanks, accents, other scripts, controls, long words, long texts."""


def export_graph(
    encoder: ColumnTransformer, estimator: Any, table: Table, scale: TargetScale | None = None
) -> bytes:
    """ONNX with one input [rows, 1] per feature of `table`, outputs `label` and `probabilities`.

    With a `scale` the one output is `prediction`, float32 [rows, 1], in the target's unit. Numeric
    inputs are float, NaN for missing; the others strings, '' for missing. The estimator's
    recipe has taught what its export needs. The bytes are the same in every process.
    """
    inputs = [(name, FloatTensorType([None, 1])) for name in table.numeric]
    strings = (*table.categorical, *table.text)
    inputs += [(name, StringTensorType([None, 1])) for name in strings]
    model = convert_sklearn(
        Pipeline([("encoder", encoder), ("model", estimator)]),
        name="roundhouse",
        initial_types=inputs,
        target_opset=TARGET_OPSET,
        options={id(estimator): {"zipmap": False}} if scale is None else None,
    )
    # The converter walks a set of them: their order is that of this process's hashes.
    model.opset_import.sort(key=attrgetter("domain"))
    if scale is not None:
        _restore(model, scale)
    return cast("bytes", model.SerializeToString(deterministic=True))


def _restore(model: onnx.ModelProto, scale: TargetScale) -> None:
    """Have `model` tell `PREDICTION` instead of what its regressor has learned."""
    (learned,) = model.graph.output
    factor, summand = (
        numpy_helper.from_array(np.array([value], dtype=np.float32), f"target/{name}")
        for name, value in (("deviation", scale.deviation), ("mean", scale.mean))
    )
    model.graph.initializer.extend([factor, summand])
    model.graph.node.extend(
        [
            helper.make_node("Mul", [learned.name, factor.name], ["target/wide"], "target/widen"),
            helper.make_node("Add", ["target/wide", summand.name], [PREDICTION], "target/shift"),
        ]
    )
    del model.graph.output[:]
    kind = onnx.TensorProto.FLOAT
    model.graph.output.append(helper.make_tensor_value_info(PREDICTION, kind, [None, 1]))


def check_parity(
    model: GraphModel,
    encoder: ColumnTransformer,
    estimator: Any,
    table: Table,
    scale: TargetScale | None = None,
) -> float:
    """The largest difference between graph and native model on `table` and on its edge cases.

    It is what `TOLERANCE` is about: of probabilities, or with a `scale` of quantities.

    Raises:
        ExportMismatch: A row differs by more than 1e-5. `onnx.checker` and overall accuracy
            miss most of the ways in which a conversion goes wrong, so every row is compared.
    """
    worst = 0.0
    for rows in (table, *_edge_cases(table)):
        native = predicted(estimator, _encoded(encoder, rows), scale)
        difference = _largest_by_row(np.abs(model.predicted(rows) - native))
        if scale is not None:
            difference /= np.maximum(np.abs(native), scale.deviation)
        if not np.all(difference <= TOLERANCE):
            count = int(np.sum(~(difference <= TOLERANCE)))
            raise ExportMismatch(
                f"the exported graph differs by up to {float(np.max(difference)):.1e} "
                f"in {count} of {len(rows)} rows; at most {TOLERANCE:.0e} is allowed"
            )
        worst = max(worst, float(np.max(difference)))
    return worst


def _largest_by_row(difference: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return difference if difference.ndim == 1 else difference.max(axis=1)


def _encoded(encoder: ColumnTransformer, table: Table) -> npt.NDArray[np.float32]:
    return np.ascontiguousarray(encoder.transform(frame(table)), dtype=np.float32)


def _edge_cases(table: Table) -> Iterator[Table]:
    """The first rows with each feature missing, each category unseen, and all of it at once.

    Texts are tried with `HARD_TEXTS` too.
    """
    rows = table.take(np.arange(min(EDGE_ROWS, len(table))))
    words = (*rows.categorical, *rows.text)
    missing: dict[str, npt.NDArray[Any]] = {  # float32 or object, by role
        **{name: np.full(len(rows), np.nan, dtype=np.float32) for name in rows.numeric},
        **{name: np.full(len(rows), "", dtype=object) for name in words},
    }
    unseen = {name: np.full(len(rows), UNSEEN, dtype=object) for name in words}
    for name in rows.text:
        hard = np.resize(np.array(HARD_TEXTS, dtype=object), len(rows))
        yield rows.replaced({name: hard})
    for name, column in missing.items():
        yield rows.replaced({name: column})
    for name, column in unseen.items():
        yield rows.replaced({name: column})
    yield rows.replaced(missing)
    yield rows.replaced({**missing, **unseen})
