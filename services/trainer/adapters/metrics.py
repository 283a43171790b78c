"""The trainer's own Prometheus metrics; what happens to jobs is in `roundhouse_events`."""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Sequence
from typing import Final

from prometheus_client import Counter, Gauge

from services.trainer.core.jobs import TrainingJob
from services.trainer.core.states import JobState

_JOBS: Final = Gauge(
    "roundhouse_trainer_jobs",
    "Jobs that are not over, by state; told by the trainer that supervises.",
    ("state",),
)
_WORKERS: Final = Gauge(
    "roundhouse_trainer_workers",
    "Workers of this trainer that run, or that its engine has yet to find room for.",
)
LOST_WORKERS: Final = Counter(
    "roundhouse_trainer_lost_workers",
    "Workers that fell silent, so that their jobs went to others.",
)
LOST_DRIVERS: Final = Counter(
    "roundhouse_trainer_lost_ray_drivers",
    "Drivers of the Ray cluster that ended, or that did not reach it.",
)


def supervised(jobs: Sequence[TrainingJob], workers: int) -> None:
    """Tell what one look at the jobs showed."""
    states = Tally(job.state for job in jobs)
    for state in JobState:
        if not state.over:
            _JOBS.labels(state.value).set(states[state])
    _WORKERS.set(workers)
