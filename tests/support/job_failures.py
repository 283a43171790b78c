"""Failures of training jobs, as the trainer would tell them."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from services.monitor.core.alerts.failures import JobFailure

PROJECT = "projects/default"


def job_failure(
    job: str, attempt: int, error_class: str, time: datetime, **facts: Any
) -> JobFailure:
    """One of an attempt at `job`, an id, which names the model, the snapshot and the line too."""
    name = f"{PROJECT}/trainingJobs/{job}"
    known = {
        "line": name,
        "message": "It broke.",
        "model": f"{PROJECT}/models/{job}",
        "snapshot": f"{PROJECT}/datasets/{job}/snapshots/s",
        "owner": "ann",
        "node": "n1",
        "worker": f"worker-{attempt}",
        **facts,
    }
    uid = f"{job}-{attempt}"
    return JobFailure(
        name=f"{PROJECT}/jobFailures/{uid}",
        job=name,
        attempt=attempt,
        error_class=error_class,
        time=time,
        **known,
    )
