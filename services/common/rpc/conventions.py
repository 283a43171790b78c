"""Names that several services must spell alike: metadata keys, spans, metrics, methods."""

from __future__ import annotations

from typing import Final

# gRPC metadata, of W3C Trace Context, level 1.
TRACEPARENT: Final = "traceparent"

# Attributes of OpenTelemetry's semantic conventions for RPC, version 1.37.
RPC_SYSTEM: Final = "rpc.system"
RPC_SERVICE: Final = "rpc.service"
RPC_METHOD: Final = "rpc.method"
RPC_STATUS_CODE: Final = "rpc.grpc.status_code"
SERVER_ADDRESS: Final = "server.address"
GRPC_SYSTEM: Final = "grpc"

# Prometheus.
SERVER_DURATION_METRIC: Final = "rpc_server_duration_seconds"
SERVER_DURATION_BUCKETS_S: Final = (
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
)  # fmt: skip

# Health and reflection serve probes and tools: no deadline is asked of them, no span made.
INFRASTRUCTURE_PREFIXES: Final = ("/grpc.health.", "/grpc.reflection.")

# Methods whose stream follows something without an end of its own; a drain ends them.
FOLLOWING_METHOD_PREFIXES: Final = ("Watch", "Tail", "Ingest")

# Domain of ErrorInfo is `<service>.roundhouse.dev`.
ERROR_DOMAIN_SUFFIX: Final = ".roundhouse.dev"


def split_method(path: str) -> tuple[str, str]:
    """`/package.Service/Method` as (`package.Service`, `Method`)."""
    service, _, method = path.lstrip("/").rpartition("/")
    return service, method
