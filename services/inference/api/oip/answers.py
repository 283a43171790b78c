"""Serialized answers, put together from parts that many answers share.

Building the message field by field costs more than a small model's run. The bytes are those of a
`ModelInferResponse` all the same: a test decodes them and compares.
"""

from __future__ import annotations

import math
import struct
from functools import lru_cache
from typing import Any, Final

import numpy as np
from tritonclient.grpc import service_pb2 as pb

from services.inference.core.predictions import Prediction
from services.inference.core.wire import datatype_of, encoded, field, varint

_ID: Final = 0x1A
_PARAMETER: Final = 0x22
_CONTENT: Final = 0x32
_INT64: Final = b"\x10"
_STRING: Final = b"\x1a"
_DOUBLE: Final = b"\x21"
_DOUBLE_VALUE: Final = struct.Struct("<d")
_SHARED_PARTS: Final = 4096


def response_bytes(model_name: str, prediction: Prediction) -> bytes:
    """The `ModelInferResponse`: the outputs, and in its parameters the decision and its origin."""
    served, outputs, policy = prediction.served, prediction.outputs, prediction.policy
    prediction_id, time = prediction.id.encode(), varint(prediction.event_time_us)
    id_head, parameter_head = _identified(len(prediction_id))
    parts = [
        _origin(
            model_name,
            served.number,
            served.variant.digest,
            served.variant.version,
            0 if policy is None else policy.version,
            "" if policy is None else policy.name,
        ),
        id_head,
        prediction_id,
        parameter_head,
        prediction_id,
        _entry_head("time", _INT64, len(time)),
        time,
    ]
    if prediction.fallback:
        parts.append(_fallen_back(prediction.fallback))
    if prediction.out_of_range:
        outside = varint(prediction.out_of_range)
        parts += (_entry_head("out_of_range", _INT64, len(outside)), outside)
    if (decision := prediction.decision) is not None:
        parts += (
            _decided(decision.label, decision.action),
            _CONFIDENCE_HEAD,
            _DOUBLE_VALUE.pack(decision.confidence),
        )
    described, heads = _described(
        tuple([(name, array.dtype, array.shape) for name, array in outputs.items()])
    )
    parts.append(described)
    for array, head in zip(outputs.values(), heads, strict=True):
        if head is None:
            parts.append(field(_CONTENT, encoded(array)))
        else:
            parts += (head, array.tobytes())
    return b"".join(parts)


@lru_cache(_SHARED_PARTS)
def _origin(
    model_name: str, number: str, digest: str, version: str, policy_version: int, policy: str
) -> bytes:
    """What all answers of one version under one policy share; the policy may be ''."""
    response = pb.ModelInferResponse(model_name=model_name, model_version=number)
    parameters = response.parameters
    parameters["model_digest"].string_param = digest
    parameters["model_version"].string_param = number
    parameters["variant"].string_param = version
    if policy:
        parameters["policy_version"].int64_param = policy_version
        parameters["policy"].string_param = policy
    shared: bytes = response.SerializeToString()
    return shared


@lru_cache(_SHARED_PARTS)
def _decided(label: int, action: str) -> bytes:
    response = pb.ModelInferResponse()
    parameters = response.parameters
    parameters["label"].int64_param = label
    parameters["labels"].string_param = str(label)
    parameters["action"].string_param = action
    parameters["actions"].string_param = action
    decided: bytes = response.SerializeToString()
    return decided


@lru_cache(_SHARED_PARTS)
def _fallen_back(reason: str) -> bytes:
    response = pb.ModelInferResponse()
    response.parameters["fallback"].string_param = reason
    told: bytes = response.SerializeToString()
    return told


@lru_cache(_SHARED_PARTS)
def _described(
    outputs: tuple[tuple[str, np.dtype[Any], tuple[int, ...]], ...],
) -> tuple[bytes, tuple[bytes | None, ...]]:
    """The description of outputs, and what stands before the contents of each; None for texts."""
    response = pb.ModelInferResponse()
    for name, dtype, shape in outputs:
        response.outputs.add(name=name, datatype=datatype_of(dtype), shape=shape)
    heads = tuple(
        None
        if dtype.kind == "O"
        else bytes((_CONTENT,)) + varint(math.prod(shape) * dtype.itemsize)
        for _, dtype, shape in outputs
    )
    return response.SerializeToString(), heads


@lru_cache(_SHARED_PARTS)
def _identified(size: int) -> tuple[bytes, bytes]:
    """What stands before an id of `size` bytes in its field, and before it as a parameter."""
    length = varint(size)
    return bytes((_ID,)) + length, _entry_head("prediction_id", _STRING + length, size)


@lru_cache(_SHARED_PARTS)
def _entry_head(name: str, tag: bytes, size: int) -> bytes:
    """What stands before a value of `size` bytes in its entry of the map of parameters."""
    entry = field(0x0A, name.encode()) + field(0x12, tag + bytes(size))
    whole = field(_PARAMETER, entry)
    return whole[: len(whole) - size]


_CONFIDENCE_HEAD: Final = _entry_head("confidence", _DOUBLE, _DOUBLE_VALUE.size)
