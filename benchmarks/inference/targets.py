"""Where one kind of server answers for one model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import grpc
from tritonclient.grpc import service_pb2 as oip
from tritonclient.grpc import service_pb2_grpc as oip_grpc

GRPC: Final = "benchmarks.callers"
HTTP: Final = "benchmarks.http_callers"

_ANSWER_S: Final = 20.0


@dataclass(frozen=True, slots=True)
class Target:
    """Where one kind of server answers for one model.

    Attributes:
        server: As tables show it.
        address: `host:port`.
        request: File with the serialized request.
        pid: The process whose CPU time counts; None where there are several, or none of interest.
        callers: Module that calls it.
    """

    server: str
    address: str
    request: Path
    pid: int | None
    callers: str = GRPC


def grpc_answers(target: Target) -> bool:
    """Whether it answers with probabilities."""
    request = oip.ModelInferRequest.FromString(target.request.read_bytes())
    with grpc.insecure_channel(target.address) as channel:
        stub = oip_grpc.GRPCInferenceServiceStub(channel)
        try:
            answer = stub.ModelInfer(request, timeout=_ANSWER_S, wait_for_ready=True)
        except grpc.RpcError:
            return False
    return "probabilities" in [output.name for output in answer.outputs]
