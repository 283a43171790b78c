"""What a fit tells, kept for a test to look at."""

from __future__ import annotations

from dataclasses import dataclass, field

from services.trainer.adapters.learning.recipe import Checkpoint, Step


class Interrupted(Exception):
    """The test stopped the fit."""


@dataclass
class Recorder:
    """Keeps what a fit reports; stops it after a step, if asked to."""

    stop_after: int | None = None
    steps: list[Step] = field(default_factory=list)
    checkpoints: list[Checkpoint] = field(default_factory=list)

    def stepped(self, step: Step) -> None:
        """Take note of `step`."""
        self.steps.append(step)

    def save(self, checkpoint: Checkpoint) -> None:
        """Keep `checkpoint`.

        Raises:
            Interrupted: It is of the step that the fit was to stop after.
        """
        self.checkpoints.append(checkpoint)
        if checkpoint.step == self.stop_after:
            raise Interrupted
