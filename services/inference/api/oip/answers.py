"""Serialized answers, put together from parts that many answers share.

Building the message field by field costs more than a small model's run. The bytes are those of a
`ModelInferResponse` all the same: a test decodes them and compares.
"""

from __future__ import annotations

import struct
from functools import lru_cache
from typing import Final

from tritonclient.grpc import service_pb2 as pb

from services.inference.core.predictions import Prediction
from services.inference.core.wire import datatype_of, encoded, field, varint

_ID: Final = 0x1A
_PARAMETER: Final = 0x22
_CONTENT: Final = 0x32
_DOUBLE: Final = struct.Struct("<d")
_SHARED_PARTS: Final = 4096


def response_bytes(model_name: str, prediction: Prediction) -> bytes:
    """The `ModelInferResponse`: the outputs, and in its parameters the decision and its origin."""
    served = prediction.served
    prediction_id = prediction.id.encode()
    parts = [
        _origin(
            model_name,
            served.number,
            served.variant.digest,
            served.variant.version,
            prediction.policy.version,
            prediction.policy.name,
        ),
        field(_ID, prediction_id),
        _entry(_PREDICTION_ID, b"\x1a" + varint(len(prediction_id)) + prediction_id),
        _entry(_TIME, b"\x10" + varint(prediction.event_time_us)),
    ]
    if prediction.fallback:
        parts.append(_fallen_back(prediction.fallback))
    if prediction.out_of_range:
        parts.append(_entry(_OUT_OF_RANGE, b"\x10" + varint(prediction.out_of_range)))
    if (decision := prediction.decision) is not None:
        parts.append(_decided(decision.label, decision.action))
        parts.append(_entry(_CONFIDENCE, b"\x21" + _DOUBLE.pack(decision.confidence)))
    outputs = prediction.outputs
    parts.append(
        _described(
            tuple([(name, datatype_of(array), array.shape) for name, array in outputs.items()])
        )
    )
    parts += [field(_CONTENT, encoded(array)) for array in outputs.values()]
    return b"".join(parts)


@lru_cache(_SHARED_PARTS)
def _origin(
    model_name: str, number: str, digest: str, version: str, policy_version: int, policy: str
) -> bytes:
    """What all answers of one version under one policy share."""
    response = pb.ModelInferResponse(model_name=model_name, model_version=number)
    parameters = response.parameters
    parameters["model_digest"].string_param = digest
    parameters["model_version"].string_param = number
    parameters["variant"].string_param = version
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
def _described(outputs: tuple[tuple[str, str, tuple[int, ...]], ...]) -> bytes:
    response = pb.ModelInferResponse()
    for name, datatype, shape in outputs:
        response.outputs.add(name=name, datatype=datatype, shape=shape)
    described: bytes = response.SerializeToString()
    return described


def _key(name: str) -> bytes:
    return field(0x0A, name.encode())


def _entry(key: bytes, value: bytes) -> bytes:
    """One entry of the map of parameters."""
    return field(_PARAMETER, key + field(0x12, value))


_PREDICTION_ID: Final = _key("prediction_id")
_TIME: Final = _key("time")
_OUT_OF_RANGE: Final = _key("out_of_range")
_CONFIDENCE: Final = _key("confidence")
