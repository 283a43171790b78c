"""Runs `python -m MODULE` so that it dies with the process that started it.

Run as a file, `python -S child.py PARENT_PID MODULE`, since it becomes that module's process: the
kernel's parent-death signal outlives exec. Asking for it here, not between fork and exec in the
parent, keeps the parent free of fork handlers, which hang under a running gRPC channel.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Becomes the module named by the arguments."""
    parent_pid, module = int(sys.argv[1]), sys.argv[2]
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent_pid:
        sys.exit(1)
    os.execv(sys.executable, [sys.executable, "-m", module])  # noqa: S606  no shell is wanted


if __name__ == "__main__":
    main()
