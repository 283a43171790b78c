"""What gives workers a place to run: a port with an adapter for each kind of place."""

from __future__ import annotations

from typing import Protocol

from services.trainer.adapters.worker.config import WorkerConfig


class Worker(Protocol):
    """One worker that was placed."""

    @property
    def place(self) -> str:
        """Where it runs, for the log."""
        ...

    async def wait(self) -> str:
        """How it ended, once it has: a clause such as `its process ended with status -9`."""
        ...

    def kill(self) -> None:
        """End it at once; nothing it has reported is lost."""
        ...


class Engine(Protocol):
    """Places workers, each of which claims its attempt and speaks for itself from then on."""

    @property
    def ready(self) -> bool:
        """Whether workers can be placed now; what waits for one costs no attempt until then."""
        ...

    async def start(self, config: WorkerConfig) -> Worker:
        """A worker that runs one attempt, as soon as there is room for it.

        While its end is waited for, it has the helpers that it is to have, those that end replaced.
        """
        ...
