"""Shows rows to Evidently, NannyML and River, in an environment of their own."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import IO, Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt

from tests.support.drift_worlds import (
    HELD_OUT_WEEKS,
    TRAINING_WEEKS,
    WEEK_DAYS,
    Change,
    Days,
    DriftWorld,
    Nature,
)

ENVIRONMENT: Final = Path(__file__).resolve().parents[2] / ".environments/drift_peers"
_SCRIPT: Final = Path(__file__).with_name("drift_peers.py")
_QUIETLY: Final = {
    "PATH": os.defpath,
    # They would tell their makers of each run.
    "DO_NOT_TRACK": "1",
    "NML_DISABLE_USAGE_LOGGING": "1",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
}

Said: TypeAlias = dict[str, list[bool]]
"""Whether each rule raised an alarm, window by window."""

Columns: TypeAlias = Mapping[str, npt.NDArray[Any]]
"""Features by name: numbers, or strings where they are categories; and `score` and `label`."""


class PeersFailed(RuntimeError):
    """They ended; what they said is on standard error."""


def are_installed() -> bool:
    """Whether the peers have their environment."""
    return (ENVIRONMENT / "installed.sha256").exists()


def said_of_weeks(
    seed: int, changes: Sequence[Change], *, nature: Nature, columns: int = 50
) -> Said:
    """What the peers say of the weeks that `judged_weeks` judges.

    Raises:
        PeersFailed: One of them did.
    """
    before, weeks = drawn_weeks(seed, changes, nature=nature, columns=columns)
    return said_by_peers(before, weeks)


def said_by_peers(before: Columns, windows: Sequence[Columns]) -> Said:
    """Whether each rule raised an alarm, window by window.

    Args:
        before: What the model was trained on.
        windows: In time order, all of as many rows.

    Raises:
        PeersFailed: One of them did.
    """
    asked, told = _peers()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "windows.npz"
        after = {name: np.concatenate([each[name] for each in windows]) for name in before}
        np.savez(
            path,
            windows=len(windows),
            **{f"before/{name}": values for name, values in before.items()},
            **{f"after/{name}": values for name, values in after.items()},
        )
        asked.write(f"{path}\n")
        asked.flush()
        answer = told.readline()
    if not answer:
        raise PeersFailed
    said: Said = json.loads(answer)
    return said


def drawn_weeks(
    seed: int, changes: Sequence[Change], *, nature: Nature, columns: int
) -> tuple[Columns, list[Columns]]:
    """The training rows and the weeks after them, one change a week."""
    world = DriftWorld(seed, nature=nature, columns=columns)
    before = world.days(TRAINING_WEEKS * WEEK_DAYS)
    world.days(HELD_OUT_WEEKS * WEEK_DAYS)  # Which the model was tried on.
    weeks = [world.days(WEEK_DAYS, change) for change in changes]
    return _columns(before), [_columns(week) for week in weeks]


def _columns(days: Days) -> Columns:
    return {**days.columns, "score": days.scores, "label": days.labels}


@cache
def _peers() -> tuple[IO[str], IO[str]]:
    """One process of them for this one: to load them takes half a minute.

    It ends when this process does, with its standard input.
    """
    running = subprocess.Popen(
        [ENVIRONMENT / "venv/bin/python", _SCRIPT],
        env={"HOME": tempfile.gettempdir(), **_QUIETLY},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert running.stdin is not None
    assert running.stdout is not None
    return running.stdin, running.stdout
