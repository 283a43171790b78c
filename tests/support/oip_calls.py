"""Requests to the data plane as a stock client makes them, and what comes back."""

from __future__ import annotations

import grpc
import numpy as np
import pytest
import tritonclient.grpc as sync_client
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo
from grpc_status import rpc_status
from tritonclient.grpc import service_pb2 as pb

FLIGHT = (100.0, 5.0, "AA")


def inputs_of(client, *rows: tuple[float, float, str]):
    columns = list(zip(*rows, strict=True))
    made = []
    for name, datatype, values in zip(
        ("distance", "delay", "carrier"), ("FP32", "FP32", "BYTES"), columns, strict=True
    ):
        tensor = client.InferInput(name, [len(rows), 1], datatype)
        dtype = np.float32 if datatype == "FP32" else np.object_
        tensor.set_data_from_numpy(np.array(values, dtype=dtype).reshape(-1, 1))
        made.append(tensor)
    return made


def parameters_of(response) -> dict[str, object]:
    return {
        name: getattr(value, value.WhichOneof("parameter_choice"))
        for name, value in response.parameters.items()
    }


async def error_of(call) -> tuple[grpc.StatusCode, str, list[str]]:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    info, bad = ErrorInfo(), BadRequest()
    for detail in rpc_status.from_call(caught.value).details:
        detail.Unpack(info)
        detail.Unpack(bad)
    fields = [violation.field for violation in bad.field_violations]
    return caught.value.code(), info.reason, fields


def raw_request(**changes) -> pb.ModelInferRequest:
    request = pb.ModelInferRequest(model_name="delays")
    for tensor in inputs_of(sync_client, FLIGHT):
        request.inputs.append(tensor._get_tensor())
        request.raw_input_contents.append(tensor._get_content())
    request.MergeFrom(pb.ModelInferRequest(**changes))
    return request
