"""How a worker process is started. Imports no learning library."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import TypeAdapter

from services.common.blobs.s3 import S3Connection
from services.common.telemetry import TraceSinks


@dataclass(frozen=True, slots=True)
class WorkerConfig:
    """All that a worker process needs to know.

    Attributes:
        job: Job to claim, by resource name.
        worker: What this process calls itself.
        lanes: Trials that it runs at a time.
        cores: That it may keep busy.
        memory_mib: Memory that each process may allocate; 0 means no limit.
        reserved_memory_mib: What a machine must have for all of them; 0 where it is not limited.
        trainer_address: Of the trainer.
        registry_address: Of the registry.
        registry_patience_s: How long the registry may be away before the attempt fails.
        blob_url: Of the trainer's blob store.
        s3: Goes with an s3:// blob_url.
        log_level: Least severe level that is logged.
        traces: Where the worker's spans go.
        encoders: Where pretrained encoders are, by the names that specs call them.
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
    s3: S3Connection | None
    log_level: str
    traces: TraceSinks
    encoders: Mapping[str, str]


def config_to_json(config: WorkerConfig) -> str:
    """One line of JSON, secrets included."""
    return TypeAdapter(WorkerConfig).dump_json(config).decode()


def config_from_json(document: str) -> WorkerConfig:
    """The inverse of `config_to_json`."""
    return TypeAdapter(WorkerConfig).validate_json(document)


def run_worker(config: WorkerConfig) -> None:
    """Run one attempt in this process."""
    # The trainer itself names this function, but must not carry torch and scikit-learn.
    from services.trainer.adapters.worker.process import run_attempt

    run_attempt(config)
