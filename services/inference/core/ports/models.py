"""Loaded models, and what runs them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from services.inference.core.ports.bundles import Bundle
from services.inference.core.rows import Rows, Tensors


@dataclass(slots=True)
class RunStatistics:
    """What a loaded model has run since it was loaded.

    Attributes:
        rows: Rows answered.
        failed_rows: Rows that the model refused, or could not run.
        busy_ns: Time spent running, summed over runs.
        last_run_ms: Milliseconds since the epoch; 0 before the first run.
    """

    runs: int = 0
    rows: int = 0
    failed_rows: int = 0
    busy_ns: int = 0
    last_run_ms: int = 0


class LoadedModel(Protocol):
    """A version that is ready to run. Safe for concurrent callers."""

    @property
    def statistics(self) -> RunStatistics:
        """Live counters, owned by the model."""
        ...

    @property
    def waiting_rows(self) -> int:
        """Rows that no run has taken yet."""
        ...

    @property
    def memory_bytes(self) -> int:
        """What loading it took, on the machine where it runs."""
        ...

    async def infer(self, rows: Rows, deadline: float | None) -> Tensors:
        """The model's outputs for exactly these rows, by name, each [rows, ...].

        Args:
            rows: Checked against the model's signature.
            deadline: `time.monotonic()` after which nobody waits for the answer.

        Raises:
            QueueFull: Too many rows wait.
            QueueDeadlineExceeded: The deadline passed in the queue.
            ModelUnavailable: The model can't run now.
            ModelFailed: The model refused these rows.
        """
        ...

    async def unload(self) -> None:
        """Answer what waits, then free the model. Later calls to `infer` are refused."""
        ...


class ModelRuntime(Protocol):
    """Runs models."""

    @property
    def platform(self) -> str:
        """Name of the platform, as the protocol's model metadata gives it."""
        ...

    async def load(self, bundle: Bundle) -> LoadedModel:
        """Load `bundle` beside whatever is loaded.

        Raises:
            UnservableBundle: The model is broken or contradicts its signature.
            ModelUnavailable: The runtime is away.
        """
        ...
