"""How a worker process is started. Imports no learning library."""

from __future__ import annotations

from dataclasses import dataclass

from services.common.blobs.s3 import S3Connection
from services.common.telemetry import TraceSinks


@dataclass(frozen=True, slots=True)
class WorkerConfig:
    """All that a worker process needs to know.

    Attributes:
        job: Job to claim, by resource name.
        worker: What this process calls itself.
        lanes: Trials that it runs at a time.
        memory_mib: Memory that each process may allocate; 0 means no limit.
        trainer_address: Of the trainer.
        registry_address: Of the registry.
        registry_patience_s: How long the registry may be away before the attempt fails.
        blob_url: Of the trainer's blob store.
        s3: Goes with an s3:// blob_url.
        log_level: Least severe level that is logged.
        traces: Where the worker's spans go.
    """

    job: str
    worker: str
    lanes: int
    memory_mib: int
    trainer_address: str
    registry_address: str
    registry_patience_s: float
    blob_url: str
    s3: S3Connection | None
    log_level: str
    traces: TraceSinks


def run_worker(config: WorkerConfig) -> None:
    """Run one attempt in this process."""
    # The trainer itself names this function, but must not carry torch and scikit-learn.
    from services.trainer.adapters.worker.process import run_attempt

    run_attempt(config)
