"""Ends with 0 if the server at the address on the command line says that it is SERVING."""

from __future__ import annotations

import sys

import grpc
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub

_TIMEOUT_S = 4.0


def main() -> None:
    """Ask once, within 4 seconds."""
    try:
        with grpc.insecure_channel(sys.argv[1]) as channel:
            answer = HealthStub(channel).Check(HealthCheckRequest(), timeout=_TIMEOUT_S)
    except grpc.RpcError as error:
        raise SystemExit(f"not reachable: {error}") from error
    if answer.status != HealthCheckResponse.SERVING:
        raise SystemExit(HealthCheckResponse.ServingStatus.Name(answer.status))


if __name__ == "__main__":
    main()
