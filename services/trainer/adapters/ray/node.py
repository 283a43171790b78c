"""A worker on a node of a Ray cluster, as a process beside the one that Ray has given it."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
from typing import Final

from services.trainer.adapters.worker.config import (
    WorkerConfig,
    config_from_json,
    config_to_json,
    run_worker,
)

_PR_SET_PDEATHSIG: Final = 1


def run(config: WorkerConfig) -> int:
    """Run one attempt in a process of its own, with which this one's end goes along.

    Returns:
        The exit status; negative is the signal that killed it.
    """
    own = str(os.getpid())
    # Threads that spin while they wait make trainings on the same cores ten times slower.
    environment = {**os.environ, "OMP_WAIT_POLICY": "passive"}
    process = subprocess.Popen(  # noqa: S603 - this very module
        [sys.executable, "-m", __name__, own],
        # Not on the command line: it has the secrets of the blob store.
        stdin=subprocess.PIPE,
        text=True,
        env=environment,
    )
    process.communicate(config_to_json(config))
    return process.returncode


def _end_with(parent: int) -> None:
    """Have the kernel kill this process when `parent` ends, however it does."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL) != 0:
        raise OSError(ctypes.get_errno(), "prctl")
    if os.getppid() != parent:
        sys.exit("the process that Ray gave to the worker has ended before it began")


def main(parent: int) -> None:
    """Run the worker that standard input describes."""
    _end_with(parent)
    run_worker(config_from_json(sys.stdin.read()))
    sys.stdout.flush()
    sys.stderr.flush()
    # As forked workers end: taking the learning libraries apart takes seconds, while others wait.
    os._exit(0)


if __name__ == "__main__":
    main(int(sys.argv[1]))
