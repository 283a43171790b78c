"""Inference requests from their protocol messages."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np

from services.common.errors import FieldViolation
from services.common.rpc.deadlines import time_remaining
from services.inference.core.errors import InvalidTensors, UnsupportedParameter
from services.inference.core.predictions import Query
from services.inference.core.rows import LooseTensors, RowSource, WireTensor
from services.inference.core.signature import DTYPES, Datatype
from services.inference.core.wire import encoded_texts

# tritonclient ships no stubs for its generated messages.
_Message = Any

_EVENT_TIME: Final = "event_time"
_STICKY_KEY: Final = "sticky_key"
_TIMEOUT: Final = "timeout"
_CLASSIFICATION: Final = "classification"
_CONTENTS: Final[Mapping[str, str]] = {
    **dict.fromkeys((Datatype.INT8, Datatype.INT16, Datatype.INT32), "int_contents"),
    **dict.fromkeys((Datatype.UINT8, Datatype.UINT16, Datatype.UINT32), "uint_contents"),
    **{
        datatype: f"{datatype.lower()}_contents"
        for datatype in (
            *(Datatype.BOOL, Datatype.INT64, Datatype.UINT64),
            *(Datatype.FP32, Datatype.FP64, Datatype.BYTES),
        )
    },
}
"""Field of each type's values; there is none for FP16."""

_MAX_ID_LENGTH: Final = 128
_LATEST_EVENT_TIME_US: Final = 253_402_300_799_000_000  # end of the year 9999


def query_of(request: _Message) -> Query:
    """The query that a `ModelInferRequest` means.

    Raises:
        InvalidTensors: Contents are missing, doubled or of the wrong kind.
        UnsupportedParameter: A parameter is unknown, or not of its type.
    """
    classes = _classes(request)
    outputs = tuple(output.name for output in request.outputs)
    query = routed_query(request, LooseTensors(_tensors(request)), outputs, request.ByteSize())
    return replace(query, classes=classes) if classes else query


def _classes(request: _Message) -> dict[str, int]:
    classes = {}
    for output in request.outputs:
        for name, value in output.parameters.items():
            if name != _CLASSIFICATION or value.int64_param <= 0:
                raise UnsupportedParameter(
                    name, f"an output takes only {_CLASSIFICATION} (int64, above 0)"
                )
            classes[output.name] = value.int64_param
    return classes


def routed_query(
    leading: _Message, tensors: RowSource, outputs: tuple[str, ...], size_bytes: int
) -> Query:
    """The query with the leading fields of a `ModelInferRequest`.

    Args:
        leading: Its model, version, id and parameters count.
        tensors: The inputs.
        outputs: Names of those that are wanted.
        size_bytes: Of the whole request.

    Raises:
        UnsupportedParameter: A parameter is unknown, or not of its type.
    """
    prediction_id = leading.id
    if len(prediction_id) > _MAX_ID_LENGTH:
        raise UnsupportedParameter("id", f"has more than {_MAX_ID_LENGTH} characters")
    event_time_us, sticky_key, timeout_s = None, "", None
    if parameters := leading.parameters:
        event_time_us, sticky_key, timeout_s = _parameters(parameters)
    remaining_s = time_remaining() if timeout_s is None else timeout_s
    return Query(
        model=leading.model_name,
        version=leading.model_version,
        id=prediction_id,
        tensors=tensors,
        outputs=outputs,
        event_time_us=event_time_us,
        sticky_key=sticky_key,
        deadline=None if remaining_s is None else time.monotonic() + remaining_s,
        size_bytes=size_bytes,
    )


def _parameters(parameters: Mapping[str, _Message]) -> tuple[int | None, str, float | None]:
    event_time_us, sticky_key, timeout_s = None, "", None
    for name, value in parameters.items():
        kind = value.WhichOneof("parameter_choice")
        if name == _EVENT_TIME and kind == "int64_param":
            event_time_us = value.int64_param
            if not 0 <= event_time_us <= _LATEST_EVENT_TIME_US:
                raise UnsupportedParameter(name, "is not within the years 1970 to 9999")
        elif name == _STICKY_KEY and kind == "string_param":
            sticky_key = value.string_param
        elif name == _TIMEOUT and kind == "int64_param" and value.int64_param > 0:
            timeout_s = value.int64_param / 1e6
        else:
            raise UnsupportedParameter(
                name,
                "is none of event_time (int64, microseconds since the epoch), "
                "sticky_key (string) and timeout (int64, microseconds, above 0)",
            )
    return event_time_us, sticky_key, timeout_s


def _tensors(request: _Message) -> list[WireTensor]:
    raw = request.raw_input_contents
    if not raw:
        return [_typed(tensor) for tensor in request.inputs]
    if len(raw) != len(request.inputs):
        description = f"holds {len(raw)} contents for {len(request.inputs)} inputs"
        raise InvalidTensors([FieldViolation("raw_input_contents", description)])
    tensors = []
    for tensor, data in zip(request.inputs, raw, strict=True):
        if tensor.parameters or tensor.HasField("contents"):
            _refuse_parameters(tensor)
            description = "has both typed and raw contents"
            raise InvalidTensors([FieldViolation(tensor.name, description)])
        tensors.append(WireTensor(tensor.name, tensor.datatype, tuple(tensor.shape), data))
    return tensors


def _refuse_parameters(tensor: _Message) -> None:
    for name in tensor.parameters:
        raise UnsupportedParameter(name, f"input {tensor.name!r} takes no parameters")


def _typed(tensor: _Message) -> WireTensor:
    """A tensor whose values stand in the field of its type."""
    _refuse_parameters(tensor)
    contents = tensor.contents
    fields = [field.name for field, _ in contents.ListFields()]
    expected = _CONTENTS.get(tensor.datatype)
    if expected is not None and fields not in ([], [expected]):
        description = f"has {' and '.join(fields)}; {tensor.datatype} goes into {expected}"
        raise InvalidTensors([FieldViolation(tensor.name, description)])
    if expected is None:
        # An unknown type is refused with what the version would take.
        if fields and tensor.datatype == Datatype.FP16:
            description = "has typed contents; FP16 goes into raw_input_contents"
            raise InvalidTensors([FieldViolation(tensor.name, description)])
        data = b""
    elif tensor.datatype == Datatype.BYTES:
        try:
            data = encoded_texts(value.decode() for value in contents.bytes_contents)
        except UnicodeDecodeError as error:
            raise InvalidTensors([FieldViolation(tensor.name, str(error))]) from error
    else:
        data = _numbers(tensor.name, DTYPES[Datatype(tensor.datatype)], getattr(contents, expected))
    return WireTensor(tensor.name, tensor.datatype, tuple(tensor.shape), data)


def _numbers(name: str, dtype: np.dtype[Any], values: Sequence[Any]) -> bytes:
    """Raw contents; the fields of small integers hold larger ones, too."""
    try:
        return np.array(values, dtype=dtype).tobytes()
    except OverflowError as error:
        raise InvalidTensors([FieldViolation(name, str(error))]) from error
