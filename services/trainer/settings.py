"""What the trainer can be configured with."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, SecretStr, StringConstraints, model_validator

from services.common.settings import Address, BlobSettings
from services.trainer.adapters.prices import DEFAULT

EncoderName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_.-]{0,62}$")]


class TrainerSettings(BlobSettings, env_prefix="ROUNDHOUSE_TRAINER_"):
    """The trainer's settings."""

    listen: Address = "127.0.0.1:7002"
    """Address of the gRPC server. Port 0 picks a free one."""

    metrics_listen: Address = "127.0.0.1:7102"
    """Address of the Prometheus endpoint. Port 0 picks a free one."""

    data_dir: Path = Path(".roundhouse/trainer")
    """Folder of everything the service keeps on this machine; made if missing."""

    registry_address: Address = "127.0.0.1:7001"
    """Address of the registry."""

    max_workers: int = Field(default=1, ge=1, le=64)
    """Attempts that run at once; each may keep every core busy, so one by default."""

    max_running_per_owner: int = Field(default=0, ge=0, le=64)
    """Jobs of one owner that run at once; 0 means no quota."""

    max_running_per_project: int = Field(default=0, ge=0, le=64)
    """Jobs of one project that run at once; 0 means no quota."""

    engine: Literal["local", "ray"] = "local"
    """Where workers run: on this machine, or on the nodes of a Ray cluster."""

    ray_address: Address | None = None
    """Of the cluster's control store; this machine is one of its nodes. Required with Ray."""

    ray_token: SecretStr | None = None
    """What a cluster with `RAY_AUTH_MODE=token` wants to see; unset where it wants nothing."""

    gpus: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9-]+(,[A-Za-z0-9-]+)*$")] = "auto"
    """GPUs of this machine that workers may hold: their numbers or UUIDs, such as `0,1`, as in
    `CUDA_VISIBLE_DEVICES`; `auto` for what that says, else all that the driver knows; `none`."""

    ray_gpus: int = Field(default=0, ge=0, le=4096)
    """GPUs of the cluster that workers may hold at a time."""

    ray_worker_cores: int = Field(default=1, ge=1, le=256)
    """Cores on Ray for a job that names no `threads`, since nodes differ; one fits any node."""

    worker_address: Address | None = None
    """Address at which workers reach this service. Unset: the one that it listens on."""

    lease_ttl_s: float = Field(default=10.0, ge=1.0, le=600.0)
    """Seconds a worker may be silent before its job goes to another; a fraction of an attempt."""

    checkpoint_interval_s: float = Field(default=1.0, ge=0.0, le=3600.0)
    """Seconds between two checkpoints of a fit at the least: what a lost worker has to do again.
    0 keeps one of each epoch, which costs short epochs a quarter of their time."""

    price_file: Path = DEFAULT
    """JSON file with what a second of a core, a GiB and a GPU costs; see docs/training.md."""

    encoders: dict[EncoderName, str] = Field(default_factory=dict)
    """Pretrained encoders that specs may name, and where each is: the absolute path of a folder, or
    `PACKAGE:FOLDER` in an installed package. None by default: the operator says what is read."""

    registry_patience_s: float = Field(default=60.0, ge=0.0, le=3600.0)
    """Seconds a worker waits for a registry that is away before its attempt fails."""

    @model_validator(mode="after")
    def _check_engine(self) -> Self:
        if self.engine == "ray":
            if self.ray_address is None:
                raise ValueError("the engine ray needs ray_address")
            if "gpus" in self.model_fields_set:
                raise ValueError("gpus set, but the engine is ray: set ray_gpus")
            return self
        unused = sorted(name for name in self.model_fields_set if name.startswith("ray_"))
        if unused:
            raise ValueError(f"{', '.join(unused)} set, but the engine is not ray")
        return self
