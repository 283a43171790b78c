"""Rows of plain values to inference requests, and answers back to rows."""

from __future__ import annotations

import struct
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt
from roundhouse.client.errors import InvalidInput
from tritonclient.grpc import service_pb2 as oip

# tritonclient ships no stubs for its generated messages.
OipMessage: TypeAlias = Any

Value: TypeAlias = float | int | str | None
Row: TypeAlias = Mapping[str, Value]
Columns: TypeAlias = Mapping[str, npt.NDArray[Any] | Sequence[Value]]
Inputs: TypeAlias = Row | Sequence[Row] | Columns
"""One row, several rows, or one array per column (float [rows] or strings [rows])."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LENGTH: Final = struct.Struct("<I")
_DTYPES: Final[Mapping[str, str]] = {
    "BOOL": "?",
    **{f"UINT{8 * size}": f"<u{size}" for size in (1, 2, 4, 8)},
    **{f"INT{8 * size}": f"<i{size}" for size in (1, 2, 4, 8)},
    **{f"FP{8 * size}": f"<f{size}" for size in (2, 4, 8)},
}
_OUTPUTS: Final = ("label", "probabilities", "decision_label", "decision_action", "confidence")


@dataclass(frozen=True, slots=True)
class InputColumn:
    """One input of an endpoint, and its type in the protocol's words, as its metadata tells."""

    name: str
    datatype: str


@dataclass(frozen=True, slots=True)
class Prediction:
    """What an endpoint answered for one request."""

    prediction_id: str
    """Row `i` is observed, and its outcome to be reported, as `{prediction_id}:{i}`."""
    scores: npt.NDArray[np.float32]
    """Probability of label 1, float32 [rows]."""
    labels: npt.NDArray[np.int64]
    """Labels that the decision policy gave, int64 [rows]."""
    actions: tuple[str, ...]
    """Actions that the decision policy recommends, one a row."""
    confidences: npt.NDArray[np.float32]
    """Probability of the decided label, float32 [rows]."""
    model_version: str
    """Version that answered, by resource name."""
    model_digest: str
    policy_version: int
    """Number of the decision policy's version."""
    policy: str
    """The policy version that decided, by resource name."""
    fallback: str
    """Why the endpoint's fallback answered: `unavailable`, `failed` or `timeout`; '' otherwise."""

    def row_id(self, row: int) -> str:
        """Under which the outcome of a row is to be reported."""
        return f"{self.prediction_id}:{row}"


@dataclass(frozen=True, slots=True)
class PredictOptions:
    """What goes with a request beside its rows."""

    prediction_id: str = ""
    """Unique id, which makes a repeat harmless; empty: one is made."""
    sticky_key: str = ""
    """Callers with the same key see the same variant during a rollout."""
    event_time: datetime | None = None
    """When the event happened, with a time zone; None: now."""
    version: str = ""
    """Number of the one version that shall answer; empty: by the endpoint's weights."""


def columns_of(metadata: OipMessage) -> tuple[InputColumn, ...]:
    """The inputs in a `ModelMetadataResponse`.

    Raises:
        InvalidInput: The endpoint tells other than two classes, so that there is no decision.
    """
    told = {output.name: list(output.shape)[1:] for output in metadata.outputs}
    (classes,) = told.get("probabilities", [0 if "prediction" in told else 2])
    if classes != 2:
        raise InvalidInput(
            f"{metadata.name} tells {f'{classes} classes' if classes else 'a quantity'}, and a "
            "prediction here is a decision between two classes; ask it by `oip.ModelInfer`, or "
            "any client of the protocol."
        )
    return tuple(InputColumn(tensor.name, tensor.datatype) for tensor in metadata.inputs)


def request_of(
    endpoint: str, columns: Sequence[InputColumn], inputs: Inputs, options: PredictOptions
) -> OipMessage:
    """The `ModelInferRequest` for `inputs`. A column left out of a row is missing in that row.

    Raises:
        InvalidInput: A column is unknown, a value is of the wrong kind, columns differ in length,
            or there are no rows.
    """
    table = _table(inputs)
    unknown = sorted(set(table) - {column.name for column in columns})
    if unknown:
        known = ", ".join(column.name for column in columns)
        raise InvalidInput(f"{endpoint} has no input {', '.join(unknown)}; it has {known}.")
    rows = _row_count(table)
    request = oip.ModelInferRequest(
        model_name=endpoint,
        model_version=options.version,
        id=options.prediction_id or str(uuid.uuid4()),
    )
    if options.sticky_key:
        request.parameters["sticky_key"].string_param = options.sticky_key
    if options.event_time is not None:
        request.parameters["event_time"].int64_param = _microseconds(options.event_time)
    for name in _OUTPUTS:
        request.outputs.add(name=name)
    for column in columns:
        request.inputs.add(name=column.name, datatype=column.datatype, shape=(rows, 1))
        values = table.get(column.name, [None] * rows)
        request.raw_input_contents.append(_encoded(column, values))
    return request


def prediction_of(response: OipMessage) -> Prediction:
    """The answer as arrays; the response must hold the outputs that `request_of` asks for."""
    raw = {
        output.name: (tuple(output.shape), content)
        for output, content in zip(response.outputs, response.raw_output_contents, strict=True)
    }
    shape, probabilities = raw["probabilities"]
    labels = _texts(raw["decision_label"][1])
    return Prediction(
        prediction_id=response.parameters["prediction_id"].string_param,
        scores=np.frombuffer(probabilities, "<f4").reshape(shape)[:, 1],
        labels=np.array([int(label) for label in labels], np.int64),
        actions=_texts(raw["decision_action"][1]),
        confidences=np.frombuffer(raw["confidence"][1], "<f4"),
        model_version=response.parameters["variant"].string_param,
        model_digest=response.parameters["model_digest"].string_param,
        policy_version=response.parameters["policy_version"].int64_param,
        policy=response.parameters["policy"].string_param,
        fallback=response.parameters["fallback"].string_param,
    )


def _table(inputs: Inputs) -> Mapping[str, npt.NDArray[Any] | Sequence[Value]]:
    if isinstance(inputs, Mapping):
        return {
            name: [value] if value is None or isinstance(value, str | int | float) else value
            for name, value in inputs.items()
        }
    names = dict.fromkeys(name for row in inputs for name in row)
    return {name: [row.get(name) for row in inputs] for name in names}


def _row_count(table: Mapping[str, npt.NDArray[Any] | Sequence[Value]]) -> int:
    lengths = {len(values) for values in table.values()}
    if len(lengths) != 1 or lengths == {0}:
        raise InvalidInput("A prediction needs at least one row, and columns of equal length.")
    return lengths.pop()


def _encoded(column: InputColumn, values: npt.NDArray[Any] | Sequence[Value]) -> bytes:
    if column.datatype == "BYTES":
        return b"".join(_counted(column.name, value) for value in values)
    if column.datatype not in _DTYPES:
        raise InvalidInput(f"{column.name} is {column.datatype}, which this client can't send.")
    dtype = np.dtype(_DTYPES[column.datatype])
    try:
        if dtype.kind == "f":
            return np.asarray(values, dtype=dtype).tobytes()
        given = np.asarray(values)
        if given.dtype.kind not in "biu" or (given.astype(dtype) != given).any():
            raise InvalidInput(f"{column.name} takes only values that are {column.datatype}.")
        return given.astype(dtype).tobytes()
    except (TypeError, ValueError) as error:
        raise InvalidInput(f"{column.name} takes numbers: {error}.") from error


def _counted(name: str, value: object) -> bytes:
    if value is not None and not isinstance(value, str):
        raise InvalidInput(f"{name} takes text, not {value!r}.")
    text = (value or "").encode()
    return _LENGTH.pack(len(text)) + text


def _texts(data: bytes) -> tuple[str, ...]:
    return tuple(_split(data))


def _split(data: bytes) -> Iterable[str]:
    offset = 0
    while offset < len(data):
        start = offset + _LENGTH.size
        offset = start + _LENGTH.unpack_from(data, offset)[0]
        yield data[start:offset].decode()


def _microseconds(moment: datetime) -> int:
    if moment.tzinfo is None:
        raise InvalidInput("event_time has no time zone, so it names no instant.")
    return (moment - _EPOCH) // timedelta(microseconds=1)
