"""Workers and helpers on nodes of a Ray cluster, as processes beside those that Ray has given."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from typing import Final

from services.trainer.adapters.worker.config import (
    HelperConfig,
    WorkerConfig,
    config_from_json,
    config_to_json,
    helper_from_json,
    helper_to_json,
    run_helper,
    run_worker,
)
from services.trainer.adapters.worker.programs import forget_programs

_PR_SET_PDEATHSIG: Final = 1
_HELPER: Final = "helper"


def run(config: WorkerConfig) -> Iterator[str | int]:
    """Run one attempt in a process of its own, with which this one's end goes along.

    Yields:
        Where helpers find it, as `host:port`, empty where it has none; then the exit status, of
        which a negative one is the signal that killed it.
    """
    told = config_to_json(config)
    if not config.helpers:
        yield ""
        status = _run([], told)
        forget_programs(config.worker)
        yield status
        return
    with socket.create_server((_address(), 0)) as listener:
        host, port = listener.getsockname()
        yield f"{host}:{port}"
        yield _run([str(listener.fileno())], told, listener.fileno())


def run_helping(config: HelperConfig) -> int:
    """Help a worker in a process of its own, as `run` does; gives the exit status."""
    return _run([_HELPER], helper_to_json(config))


def _address() -> str:
    """Of this node."""
    # Only here: the worker itself runs this module too, and needs no Ray.
    from ray.util import get_node_ip_address

    address: str = get_node_ip_address()  # type: ignore[no-untyped-call]  # Ray leaves it so
    return address


def _run(words: Sequence[str], told: str, *descriptors: int) -> int:
    own = str(os.getpid())
    # Threads that spin while they wait make trainings on the same cores ten times slower.
    environment = {**os.environ, "OMP_WAIT_POLICY": "passive"}
    process = subprocess.Popen(  # noqa: S603 - this very module
        [sys.executable, "-m", __name__, own, *words],
        # Not on the command line: it has the secrets of the blob store.
        stdin=subprocess.PIPE,
        text=True,
        env=environment,
        pass_fds=descriptors,
    )
    process.communicate(told)
    return process.returncode


def _end_with(parent: int) -> None:
    """Have the kernel kill this process when `parent` ends, however it does."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL) != 0:
        raise OSError(ctypes.get_errno(), "prctl")
    if os.getppid() != parent:
        sys.exit("the process that Ray gave to the worker has ended before it began")


def main(parent: int, words: Sequence[str]) -> None:
    """Run the worker or the helper that standard input describes."""
    _end_with(parent)
    told = sys.stdin.read()
    match words:
        case []:
            run_worker(config_from_json(told))
        case [word] if word == _HELPER:
            run_helper(helper_from_json(told))
        case [descriptor]:
            run_worker(config_from_json(told), socket.socket(fileno=int(descriptor)))
    sys.stdout.flush()
    sys.stderr.flush()
    # As forked workers end: taking the learning libraries apart takes seconds, while others wait.
    os._exit(0)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
