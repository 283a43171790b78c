"""What is pushed to Triton to load a version, and how its refusals read."""

from __future__ import annotations

import hashlib
import json
from enum import StrEnum
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import grpc
from tritonclient.grpc.service_pb2 import ModelInferRequest, RepositoryModelLoadRequest

from services.inference.core.errors import ModelFailed
from services.inference.core.ports import Bundle
from services.inference.core.rows import Rows, Tensors
from services.inference.core.signature import Datatype, InputSpec, OutputSpec
from services.inference.core.wire import decoded, encoded_texts, field, triton_type

_MODEL_PY: Final = Path(__file__).with_name("onnx_backend.py")
_CONTENT: Final = 0x3A  # tag of `raw_input_contents`
_SHARED_PARTS: Final = 1024


class Backend(StrEnum):
    """Triton's backends that can run an ONNX model."""

    ONNX_RUNTIME = "onnxruntime"
    PYTHON = "python"


def model_name(bundle: Bundle) -> str:
    """One Triton model per digest: a new version never replaces the bytes of another."""
    return f"roundhouse-{bundle.digest.removeprefix('sha256:')[:32]}"


def load_request(bundle: Bundle, backend: Backend, generation: str) -> RepositoryModelLoadRequest:
    """Asks Triton to load `bundle` from the request itself.

    Triton ignores new bytes under an unchanged configuration and does not revive a
    crashed stub under one, so both the artifact's digest and `generation` are in it.

    Args:
        bundle: Verified.
        backend: One that the server has.
        generation: A new value forces a reload.
    """
    onnx = (bundle.folder / "model.onnx").read_bytes()
    config = {
        "name": model_name(bundle),
        "backend": backend,
        "max_batch_size": 0,
        "input": [_tensor_config(spec, (-1, 1)) for spec in bundle.signature.inputs],
        "output": [_tensor_config(spec, spec.shape) for spec in bundle.signature.outputs],
        "version_policy": {"specific": {"versions": [1]}},
        "instance_group": [{"kind": "KIND_CPU", "count": 1}],
        # With the scheduler that it brings, Triton drops what waits when its time is over.
        "dynamic_batching": {},
        "parameters": {
            "artifact_sha256": {"string_value": hashlib.sha256(onnx).hexdigest()},
            "generation": {"string_value": generation},
        },
    }
    request = RepositoryModelLoadRequest(model_name=model_name(bundle))
    request.parameters["config"].string_param = json.dumps(config)
    request.parameters["file:1/model.onnx"].bytes_param = onnx
    if backend is Backend.PYTHON:
        request.parameters["file:1/model.py"].bytes_param = _MODEL_PY.read_bytes()
    return request


def infer_request(bundle: Bundle, rows: Rows) -> bytes:
    """Asks Triton to run `rows`, as a serialized `ModelInferRequest`.

    Rows of one caller go on as the caller sent them: only the leading fields are other ones.
    """
    leading = _leading(model_name(bundle))
    if rows.source is not None:
        data, start = rows.source
        return leading + data[start:]
    signature = bundle.signature
    ordered = (*signature.numeric, *signature.text, *signature.other)
    inputs = tuple([(spec.name, spec.datatype) for spec in ordered])
    contents = [field(_CONTENT, line.tobytes()) for line in rows.numeric]
    contents += [field(_CONTENT, encoded_texts(values)) for values in rows.text]
    contents += [field(_CONTENT, array.tobytes()) for array in rows.other]
    return b"".join((leading, _described(inputs, rows.count), *contents))


def read_outputs(bundle: Bundle, response: Any, count: int) -> Tensors:
    """The outputs in a `ModelInferResponse` for `count` rows.

    Raises:
        ModelFailed: They are not what the model's configuration says.
    """
    try:
        outputs = {
            output.name: decoded(output.datatype, tuple(output.shape), raw)
            for output, raw in zip(response.outputs, response.raw_output_contents, strict=True)
        }
    except (ValueError, KeyError) as error:
        raise ModelFailed(bundle.version, f"unreadable output: {error}") from error
    # Under numpy 2 Triton 2.51's stub answers OK with empty outputs.
    if any(len(outputs.get(name, ())) != count for name in bundle.signature.output_names):
        raise ModelFailed(bundle.version, "an output lacks rows")
    return outputs


@lru_cache(_SHARED_PARTS)
def _leading(name: str) -> bytes:
    leading: bytes = ModelInferRequest(model_name=name, model_version="1").SerializeToString()
    return leading


@lru_cache(_SHARED_PARTS)
def _described(inputs: tuple[tuple[str, Datatype], ...], count: int) -> bytes:
    request = ModelInferRequest()
    for name, datatype in inputs:
        request.inputs.add(name=name, datatype=datatype, shape=(count, 1))
    described: bytes = request.SerializeToString()
    return described


def _tensor_config(spec: InputSpec | OutputSpec, shape: tuple[int, ...]) -> dict[str, object]:
    return {
        "name": spec.name,
        "data_type": triton_type(spec.datatype),
        "dims": list(shape),
    }


def lacks_backend(error: grpc.aio.AioRpcError) -> bool:
    """Whether Triton refused a load because it has no such backend."""
    return "unable to find" in (error.details() or "") and "backend" in (error.details() or "")


def needs_reload(error: grpc.aio.AioRpcError) -> bool:
    """Whether the model is gone from Triton, or its process is, until it is loaded again."""
    text = (error.details() or "").lower()
    return (
        ("stub process" in text and "not healthy" in text)
        or "request for unknown model" in text
        or "has no available versions" in text
    )


def is_away(error: grpc.aio.AioRpcError) -> bool:
    """Whether Triton itself does not answer."""
    return error.code() in (
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.CANCELLED,
    )


def refusal_text(error: grpc.aio.AioRpcError) -> str:
    """What Triton, or the way to it, said."""
    return f"{error.code().name}: {error.details()}"
