"""Raw features into numbers, by transformers that export to ONNX exactly."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler

from services.trainer.adapters.learning.recipe import Encoding, Matrix
from services.trainer.core.tables import Rows, Table


def new_encoder(encoding: Encoding, table: Table) -> ColumnTransformer:
    """An unfitted transformer of `table`'s features into a dense float32 matrix."""
    impute = SimpleImputer(strategy="median", keep_empty_features=True)
    numeric, categorical = _steps(encoding)
    numeric = Pipeline([("impute", impute), *numeric])
    parts = [("numeric", numeric, list(table.numeric))] if table.numeric else []
    if table.categorical:
        parts.append(("categorical", categorical, list(table.categorical)))
    return ColumnTransformer(parts, sparse_threshold=0)


def _steps(encoding: Encoding) -> tuple[list[tuple[str, Any]], Any]:  # untyped transformers
    match encoding:
        case Encoding.SCALED_ONE_HOT:
            return [("scale", StandardScaler())], OneHotEncoder(
                handle_unknown="ignore", sparse_output=False, dtype=np.float32
            )
        case Encoding.ORDINAL:
            return [], OrdinalEncoder(
                handle_unknown="use_encoded_value", unknown_value=-1, dtype=np.float32
            )


def frame(table: Table) -> pd.DataFrame:
    """The features as the encoders take them: float32 and object columns."""
    return pd.DataFrame(table.features)


@dataclass(frozen=True, eq=False)
class EncodedMatrices:
    """One encoding of the rows of a fit.

    Attributes:
        encoder: Fitted on the rows of `fit` alone.
        fit: float32 [fit rows, columns].
        watch: float32 [watch rows, columns]; None when nothing is watched.
    """

    encoder: ColumnTransformer
    fit: Matrix
    watch: Matrix | None


class EncodedRows:
    """The rows a model is fitted on and those it is watched on, encoded once per encoding.

    Nothing is learned from the watched rows, neither medians nor categories.

    Attributes:
        fit: The rows fitted.
        watch: The rows watched, if any.
    """

    def __init__(self, table: Table, fit_rows: Rows, watch_rows: Rows | None) -> None:
        self.fit = table.take(fit_rows)
        self.watch = None if watch_rows is None else table.take(watch_rows)
        self._encoded: dict[Encoding, EncodedMatrices] = {}

    def encoded(self, encoding: Encoding) -> EncodedMatrices:
        """Both sets of rows in `encoding`."""
        if encoding not in self._encoded:
            encoder = new_encoder(encoding, self.fit)
            fit = encoder.fit_transform(frame(self.fit))
            watch = None if self.watch is None else encoder.transform(frame(self.watch))
            self._encoded[encoding] = EncodedMatrices(
                encoder, _dense(fit), None if watch is None else _dense(watch)
            )
        return self._encoded[encoding]


def _dense(matrix: Any) -> Matrix:  # scikit-learn has no types
    return np.ascontiguousarray(matrix, dtype=np.float32)
