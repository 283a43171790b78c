"""How worker processes and their helpers are started. Imports no learning library."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import TypeAdapter

from services.common.blobs.s3 import S3Connection
from services.common.telemetry import TraceSinks
from services.trainer.core.parallelism import Parallelism


@dataclass(frozen=True, slots=True)
class GpuPool:
    """GPUs of a machine, of which each worker and each helper holds one.

    Attributes:
        ids: Of those that are there, as `CUDA_VISIBLE_DEVICES` takes them.
        folder: Of the files that are locked by those who hold them; empty where whoever starts
            the process has given it one.
    """

    ids: tuple[str, ...] = ()
    folder: str = ""


@dataclass(frozen=True, slots=True)
class WorkerConfig:
    """All that a worker process needs to know.

    Attributes:
        job: Job to claim, by resource name.
        worker: What this process calls itself.
        lanes: Trials that it runs at a time.
        cores: That it may keep busy.
        memory_mib: Memory that each process may allocate; 0 means no limit.
        reserved_memory_mib: What its machine must have for all of them; 0 where it is not limited.
        trainer_address: Of the trainer.
        registry_address: Of the registry.
        registry_patience_s: How long the registry may be away before the attempt fails.
        blob_url: Of the trainer's blob store.
        checkpoint_interval_s: Between two checkpoints of a fit at the least.
        s3: Goes with an s3:// blob_url.
        log_level: Least severe level that is logged.
        traces: Where the worker's spans go.
        encoders: Where pretrained encoders are, by the names that specs call them.
        parallelism: How many workers train together; None where it trains alone.
        helper_key: By which it and its helpers know each other, a secret; empty without any.
        gpus: Where it takes one from; None where it needs none.
        compiles: Whether it compiles networks.
    """

    job: str
    worker: str
    lanes: int
    cores: int
    memory_mib: int
    reserved_memory_mib: int
    trainer_address: str
    registry_address: str
    registry_patience_s: float
    blob_url: str
    checkpoint_interval_s: float
    s3: S3Connection | None
    log_level: str
    traces: TraceSinks
    encoders: Mapping[str, str]
    parallelism: Parallelism | None = None
    helper_key: str = ""
    gpus: GpuPool | None = None
    compiles: bool = False

    @property
    def helpers(self) -> int:
        """Further workers that train with it at most."""
        return 0 if self.parallelism is None else self.parallelism.max_workers - 1

    @property
    def min_workers(self) -> int:
        """Workers, itself included, without which it does not train."""
        return 1 if self.parallelism is None else self.parallelism.min_workers

    def helper(self, address: str) -> HelperConfig:
        """How one that helps it is started, where it listens at `address`."""
        return HelperConfig(
            worker=self.worker,
            address=address,
            key=self.helper_key,
            cores=self.cores,
            memory_mib=self.memory_mib,
            log_level=self.log_level,
            gpus=self.gpus,
        )


@dataclass(frozen=True, slots=True)
class HelperConfig:
    """All that a helper needs to know.

    Attributes:
        worker: That it helps.
        address: `host:port` where that listens.
        key: By which they know each other.
        cores: That it may keep busy.
        memory_mib: Memory that it may allocate; 0 means no limit.
        log_level: Least severe level that is logged.
        gpus: Where it takes one from; None where it needs none.
    """

    worker: str
    address: str
    key: str
    cores: int
    memory_mib: int
    log_level: str
    gpus: GpuPool | None = None


def config_to_json(config: WorkerConfig) -> str:
    """One line of JSON, secrets included."""
    return TypeAdapter(WorkerConfig).dump_json(config).decode()


def config_from_json(document: str) -> WorkerConfig:
    """The inverse of `config_to_json`."""
    return TypeAdapter(WorkerConfig).validate_json(document)


def helper_to_json(config: HelperConfig) -> str:
    """One line of JSON, its secret included."""
    return TypeAdapter(HelperConfig).dump_json(config).decode()


def helper_from_json(document: str) -> HelperConfig:
    """The inverse of `helper_to_json`."""
    return TypeAdapter(HelperConfig).validate_json(document)


def run_worker(config: WorkerConfig, listener: socket.socket | None = None) -> None:
    """Run one attempt in this process, with the helpers that come to `listener`."""
    # The trainer itself names this function, but must not carry torch and scikit-learn.
    from services.trainer.adapters.worker.process import run_attempt

    run_attempt(config, listener)


def run_helper(config: HelperConfig) -> None:
    """Help a worker in this process, until that ends."""
    from services.trainer.adapters.worker.helper import help_worker

    help_worker(config)
