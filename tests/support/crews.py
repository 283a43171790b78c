"""Crews with real helpers, which are processes that can be killed."""

from __future__ import annotations

import multiprocessing
import secrets
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.context import ForkServerProcess
from typing import Any

import numpy as np
import psutil

from services.trainer.adapters.learning.crew import Crew
from services.trainer.adapters.learning.recipe import Checkpoint, FitTask, Step
from services.trainer.adapters.recipes import load_recipes
from services.trainer.adapters.worker.config import HelperConfig, run_helper
from services.trainer.adapters.worker.helped import HelpedCrew, Patience
from services.trainer.core.parallelism import Parallelism
from services.trainer.core.parameters import completed
from tests.support.fits import Recorder
from tests.support.processes import wait_until

RECIPES = load_recipes()
PARAMETERS = {
    "mlp": {"hidden_units": 8.0, "epochs": 4.0, "batch_rows": 32.0, "learning_rate": 0.01},
    "cnn": {"height": 4.0, "width": 4.0, "filters": 2.0, "epochs": 3.0, "batch_rows": 50.0},
}


def fit_task(algorithm: str, crew: Crew | None, **changes: Any) -> FitTask:
    """A fit of a network on 243 rows, so that its last batch is too small for some shards."""
    random = np.random.default_rng(0)
    rows = random.normal(size=(243, 16)).astype(np.float32)
    label = (rows[:, 0] + rows[:, 1] ** 2 > 1).astype(np.int64)
    given = changes.pop("parameters", {})
    fields: dict[str, Any] = {
        "rows": rows,
        "label": label,
        "watch_rows": rows[:60],
        "watch_label": label[:60],
        "parameters": completed({**PARAMETERS[algorithm], **given}, RECIPES[algorithm].rules),
        "seed": 3,
        "cores": 1,
        "observer": Recorder(),
        "crew": crew,
    }
    return FitTask(**{**fields, **changes})


@dataclass
class Heard(Recorder):
    """Keeps what a fit reports, and does something after each step."""

    after: Callable[[Step], None] = field(default=lambda _: None)

    def stepped(self, step: Step) -> None:
        """Take note of `step`."""
        super().stepped(step)
        self.after(step)

    @property
    def workers(self) -> list[int | None]:
        """Of each step."""
        return [step.workers for step in self.steps]


class Helpers:
    """Processes that come to help.

    Args:
        listener: Where.
        key: By which they are known.
    """

    def __init__(self, listener: socket.socket, key: str) -> None:
        self.address = f"127.0.0.1:{listener.getsockname()[1]}"
        self.started: list[ForkServerProcess] = []
        self._key = key
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(["services.trainer.adapters.worker.helper"])

    def start(self, count: int = 1, *, key: str = "") -> None:
        """Have so many come; returns once they knock at the door."""
        config = HelperConfig("worker-1", self.address, key or self._key, 1, 0, "warning")
        for _ in range(count):
            process = self._context.Process(target=run_helper, args=(config,), daemon=True)
            process.start()
            self.started.append(process)
        for process in self.started[-count:] if count else []:
            found = psutil.Process(process.pid)
            wait_until(lambda found=found: bool(found.net_connections()), what="a helper's coming")

    def kill(self, index: int = -1) -> None:
        """Kill one that was started, the newest unless told otherwise."""
        self.started[index].kill()
        self.started[index].join()

    def close(self) -> None:
        """Kill all that are left."""
        for process in self.started:
            process.kill()
            process.join()


@contextmanager
def crew_of(
    parallelism: Parallelism,
    patience: Patience = Patience(),  # noqa: B008 - frozen
) -> Iterator[tuple[HelpedCrew, Helpers]]:
    """A crew to which no helper has come yet, and what starts them."""
    listener = socket.create_server(("127.0.0.1", 0))
    key = secrets.token_hex(8)
    crew, helpers = HelpedCrew(parallelism, listener, key, patience), Helpers(listener, key)
    try:
        yield crew, helpers
    finally:
        crew.close()
        helpers.close()


def plain(checkpoints: list[Checkpoint]) -> list[bytes]:
    """Every bit that a fit has kept."""
    return [checkpoint.data for checkpoint in checkpoints]
