"""Answers that describe what is served."""

from __future__ import annotations

from typing import Any

from tritonclient.grpc import service_pb2 as pb

from services.inference.core.ports import RunStatistics
from services.inference.core.served import ServedEndpoint, ServedVariant
from services.inference.core.wire import triton_type

# tritonclient ships no stubs for its generated messages.
_Message = Any


def metadata_of(model_name: str, endpoint: ServedEndpoint, served: ServedVariant) -> _Message:
    """The `ModelMetadataResponse` of one variant; -1 stands for any number of rows."""
    tensor = pb.ModelMetadataResponse.TensorMetadata
    return pb.ModelMetadataResponse(
        name=model_name,
        versions=[each.number for each in endpoint.variants],
        platform="onnx",
        inputs=[
            tensor(name=spec.name, datatype=spec.datatype, shape=(-1, 1))
            for spec in served.signature.inputs
        ],
        outputs=[
            tensor(name=spec.name, datatype=spec.datatype, shape=spec.shape)
            for spec in served.signature.outputs
        ],
    )


def config_of(model_name: str, served: ServedVariant) -> _Message:
    """The `ModelConfigResponse` of one variant."""
    response = pb.ModelConfigResponse()
    config = response.config
    config.name = model_name
    config.platform = "onnxruntime_onnx"
    for spec in served.signature.inputs:
        config.input.add(name=spec.name, data_type=triton_type(spec.datatype), dims=(-1, 1))
    for output in served.signature.outputs:
        config.output.add(
            name=output.name, data_type=triton_type(output.datatype), dims=output.shape
        )
    config.parameters["artifact_digest"].string_value = served.variant.digest
    return response


def statistics_of(model_name: str, served: ServedVariant, statistics: RunStatistics) -> _Message:
    """What one variant has run since it was loaded."""
    message = pb.ModelStatistics(
        name=model_name,
        version=served.number,
        last_inference=statistics.last_run_ms,
        inference_count=statistics.rows,
        execution_count=statistics.runs,
    )
    message.inference_stats.success.count = statistics.runs
    message.inference_stats.success.ns = statistics.busy_ns
    return message
