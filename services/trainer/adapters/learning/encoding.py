"""Raw features into numbers, by transformers that export to ONNX exactly."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler

from services.trainer.adapters.learning.native import EncoderState
from services.trainer.adapters.learning.pretrained import Encoder
from services.trainer.adapters.learning.recipe import Encoding, Matrix
from services.trainer.adapters.learning.wordpiece_graph import TextTokens
from services.trainer.core.tables import Rows, Table

Categories = Mapping[str, tuple[str, ...]]


def new_encoder(
    encoding: Encoding, table: Table, categories: Categories | None = None
) -> ColumnTransformer:
    """An unfitted transformer of `table`'s features into a dense float32 matrix.

    Args:
        encoding: How.
        table: With the features.
        categories: Of each categorical feature; None means those that it is fitted on.
    """
    impute = SimpleImputer(strategy="median", keep_empty_features=True)
    known = "auto" if categories is None else [list(categories[each]) for each in table.categorical]
    numeric, categorical = _steps(encoding, known)
    numeric = Pipeline([("impute", impute), *numeric])
    parts = [("numeric", numeric, list(table.numeric))] if table.numeric else []
    if table.categorical:
        parts.append(("categorical", categorical, list(table.categorical)))
    return ColumnTransformer(parts, sparse_threshold=0)


def _steps(
    encoding: Encoding, categories: str | list[list[str]]
) -> tuple[list[tuple[str, Any]], Any]:  # untyped transformers
    match encoding:
        case Encoding.SCALED_ONE_HOT:
            return [("scale", StandardScaler())], OneHotEncoder(
                categories=categories,
                handle_unknown="ignore",
                sparse_output=False,
                dtype=np.float32,
            )
        case Encoding.ORDINAL:
            return [], OrdinalEncoder(
                categories=categories,
                handle_unknown="use_encoded_value",
                unknown_value=-1,
                dtype=np.float32,
            )
        case Encoding.TOKENS:
            raise ValueError("a text has no categories; `TextReader` reads it")


@dataclass(frozen=True, eq=False)
class TextReader:
    """How the text of a job is read.

    Attributes:
        encoder: Reads its tokens.
        max_tokens: Of a text.
        feature: That the text is.
    """

    encoder: Encoder
    max_tokens: int
    feature: str

    def transformer(self, table: Table) -> ColumnTransformer:
        """Of the only text of `table` into its tokens."""
        tokens = TextTokens(self.encoder.tokenizer, self.max_tokens)
        return ColumnTransformer([("text", tokens, list(table.text))], sparse_threshold=0)


def learned(encoder: ColumnTransformer) -> EncoderState:
    """What a fitted encoder of `new_encoder` has learned."""
    parts = {name: (fitted, columns) for name, fitted, columns in encoder.transformers_}
    medians: dict[str, float] = {}
    means: dict[str, float] = {}
    scales: dict[str, float] = {}
    categories: dict[str, tuple[str, ...]] = {}
    if "numeric" in parts:
        steps, columns = parts["numeric"]
        medians = _by_name(columns, steps["impute"].statistics_)
        if "scale" in steps.named_steps:
            means = _by_name(columns, steps["scale"].mean_)
            scales = _by_name(columns, steps["scale"].scale_)
    if "categorical" in parts:
        fitted, columns = parts["categorical"]
        categories = {
            name: tuple(values) for name, values in zip(columns, fitted.categories_, strict=True)
        }
    return EncoderState(medians, means, scales, categories)


def fitted_as(state: EncoderState, encoding: Encoding, table: Table) -> ColumnTransformer:
    """The encoder that has learned `state`; `table` has its features."""
    encoder = new_encoder(encoding, table, state.categories)
    encoder.fit(frame(table))
    parts = {name: fitted for name, fitted, _ in encoder.transformers_}
    if "numeric" in parts:
        steps = parts["numeric"]
        steps["impute"].statistics_[:] = list(state.medians.values())
        if "scale" in steps.named_steps:
            steps["scale"].mean_[:] = list(state.means.values())
            steps["scale"].scale_[:] = list(state.scales.values())
    return encoder


def _by_name(columns: Sequence[str], values: Iterable[float]) -> dict[str, float]:
    return {name: float(value) for name, value in zip(columns, values, strict=True)}


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
    Args:
        table: The snapshot.
        fit_rows: Rows of it that are fitted.
        watch_rows: Others that are watched, if any.
        state: What the encoder has learned already; None means that it learns from `fit`.
        reader: Of the text; None where there is none.

    Attributes:
        fit: The rows fitted.
        watch: The rows watched, if any.
    """

    def __init__(
        self,
        table: Table,
        fit_rows: Rows,
        watch_rows: Rows | None,
        state: EncoderState | None = None,
        reader: TextReader | None = None,
    ) -> None:
        self.fit = table.take(fit_rows)
        self.watch = None if watch_rows is None else table.take(watch_rows)
        self._state = state
        self._reader = reader
        self._encoded: dict[Encoding, EncodedMatrices] = {}

    def encoded(self, encoding: Encoding) -> EncodedMatrices:
        """Both sets of rows in `encoding`."""
        if encoding not in self._encoded:
            if self._state is None or encoding is Encoding.TOKENS:
                encoder = self._new(encoding)
                fit = encoder.fit_transform(frame(self.fit))
            else:
                encoder = fitted_as(self._state, encoding, self.fit)
                fit = encoder.transform(frame(self.fit))
            watch = None if self.watch is None else encoder.transform(frame(self.watch))
            self._encoded[encoding] = EncodedMatrices(
                encoder, _dense(fit), None if watch is None else _dense(watch)
            )
        return self._encoded[encoding]

    def _new(self, encoding: Encoding) -> ColumnTransformer:
        if encoding is not Encoding.TOKENS:
            return new_encoder(encoding, self.fit)
        assert self._reader is not None, "a recipe that reads text has one"
        return self._reader.transformer(self.fit)


def _dense(matrix: Any) -> Matrix:  # scikit-learn has no types
    return np.ascontiguousarray(matrix, dtype=np.float32)
