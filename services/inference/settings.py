"""What the inference service can be configured with."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, SecretStr, model_validator

from services.common.settings import Address, Addresses, BlobSettings


class InferenceSettings(BlobSettings, env_prefix="ROUNDHOUSE_INFERENCE_"):
    """Each comes from the environment as `ROUNDHOUSE_INFERENCE_` and its name."""

    listen: Address = "127.0.0.1:7003"
    """Address of the gRPC server. Port 0 picks a free one."""

    metrics_listen: Address = "127.0.0.1:7103"
    """Address of the Prometheus endpoint. Port 0 picks a free one."""

    server: Literal["auto", "native", "grpcio"] = "auto"
    """What answers `ModelInfer` on `listen`: `native`, a server in Rust at a fraction of the CPU,
    or `grpcio`, gRPC's own, which refuses too large a message before it takes it in. `auto` is
    native on loopback and grpcio elsewhere: choose native there where every caller is trusted.
    Everything else is always answered by grpcio."""

    data_dir: Path = Path(".roundhouse/inference")
    """Folder of everything the service keeps on this machine; made if missing."""

    registry_address: Address = "127.0.0.1:7001"
    """`host:port` of the registry."""

    monitor_address: Address = "127.0.0.1:7004"
    """`host:port` of the monitor."""

    triton_address: Addresses | None = None
    """`host:port` of a Triton server's gRPC, started with `--model-control-mode=explicit`;
    those of several replicas are separated by commas. Unset: endpoints with the Triton runtime
    are refused."""

    max_request_rows: int = Field(default=4096, ge=1, le=1_000_000)
    """Rows of one request."""

    max_batch_rows: int = Field(default=256, ge=1, le=1_000_000)
    """Rows of one run that joins callers; larger gains nothing for small models."""

    max_waiting_rows: int = Field(default=8192, ge=1)
    """Rows that wait for one model before callers are turned away."""

    max_batch_bytes: int = Field(default=4 << 20, ge=1)
    """Values of one run that joins callers."""

    max_waiting_bytes: int = Field(default=64 << 20, ge=1)
    """Values that wait for one model before callers are turned away."""

    max_waiting_s: float = Field(default=5.0, gt=0.0, le=600.0)
    """Callers of a model are turned away while its first one has waited longer."""

    max_request_bytes_under_way: int = Field(default=256 << 20, ge=1 << 20)
    """Serialized requests under way, of all callers and models together."""

    max_calls_per_caller: int = Field(default=1024, ge=1)
    """Inference calls of one host under way; half of what the server takes from all."""

    model_threads: int = Field(
        default_factory=lambda: max(1, len(os.sched_getaffinity(0)) - 1), ge=1, le=256
    )
    """Runs of one model at once, and threads of ONNX Runtime; the event loop keeps a core."""

    triton_runs: int = Field(default=1, ge=1, le=256)
    """Runs of one model on each replica of Triton at once. Its one instance of a model gains
    nothing from a second run in flight: each is smaller, and costs the front as much as a large
    one."""

    triton_linger_s: float = Field(default=0.001, ge=0.0, le=1.0)
    """While a run of a model is under way, another that is not full waits so long for company."""

    mirror_waiting_rows: int = Field(default=1024, ge=1)
    """Rows of mirrored requests that wait for versions in a shadow phase; later copies are dropped
    and counted. Few, since what waits long says little about latency."""

    mirror_deadline_s: float = Field(default=1.0, gt=0.0, le=600.0)
    """A copy that is not run so long after its request was answered is thrown away and counted."""

    observation_limit_bytes: int = Field(default=1 << 30, ge=1 << 20)
    """Disk for observations that the monitor has not taken; later ones are counted as dropped."""

    redaction_key: SecretStr | None = Field(default=None, min_length=16, max_length=64)
    """What digests of redacted texts are keyed with, 16 to 64 characters; the same on each
    replica. Unset: endpoints may drop features, not digest them."""

    signature_key_file: Path | None = None
    """PEM of the public key whose signature a version must have to be served. Unset: any."""

    @model_validator(mode="after")
    def _check_rows(self) -> Self:
        if self.max_waiting_rows < self.max_batch_rows:
            raise ValueError("max_waiting_rows is below max_batch_rows, so no batch could fill")
        return self
