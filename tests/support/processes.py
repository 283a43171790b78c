"""Real servers as child processes that never outlive the test run."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

import psutil

_SETPRIV = "/usr/bin/setpriv"
_POLL_S = 0.02
_LOG_TAIL_BYTES = 3000


class ServerFailedToStart(RuntimeError):
    """The process ended, or was not ready in time; the message ends with its log."""


def free_ports(count: int) -> list[int]:
    """Loopback TCP ports that nobody listens on now, each another."""
    with ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def wait_until(
    condition: Callable[[], bool], *, what: str, timeout_s: float = 30.0, poll_s: float = _POLL_S
) -> None:
    """Block until the condition holds.

    Raises:
        TimeoutError: It did not within `timeout_s`; the message says `what` was awaited.
    """
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"no {what} within {timeout_s:.0f} s")
        time.sleep(poll_s)


def interpreter_environment() -> dict[str, str]:
    """What a child needs of this process's environment to find the same code."""
    return {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}


def living_children(pid: int) -> set[int]:
    """The children of a process that have not ended, whether or not it has noticed."""
    children = psutil.Process(pid).children()
    return {each.pid for each in children if each.status() != psutil.STATUS_ZOMBIE}


class ServerProcess:
    """One server in a session of its own, killed by the kernel when this process dies.

    Args:
        command: The program, by absolute path, and its arguments.
        log: Receives what it prints, appended.
        environment: All of its environment.
        user_id: Whom it runs as; None for the present user.
        death_signal: What it gets when the test process ends without stopping it.
    """

    def __init__(
        self,
        command: Sequence[str | Path],
        *,
        log: Path,
        environment: Mapping[str, str],
        user_id: int | None = None,
        death_signal: signal.Signals = signal.SIGKILL,
    ) -> None:
        self.log = log

        identity = () if user_id is None else (f"--reuid={user_id}", "--clear-groups")
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                # Not by `preexec_fn`: gRPC's threads crash a child that forks (grpc#43055).
                [_SETPRIV, f"--pdeathsig={death_signal.name}", *identity, "--", *command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=log.parent,
                env=dict(environment),
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """The id of the process, and of its process group."""
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    def wait_until_ready(
        self, ready: Callable[[], bool], *, ports: Sequence[int], timeout_s: float = 60.0
    ) -> None:
        """Block until `ready()` holds and this very process listens on all the ports.

        Raises:
            ServerFailedToStart: It ended first, or the time ran out and it was killed.
        """
        deadline = time.monotonic() + timeout_s
        while True:
            if self._process.poll() is not None:
                raise ServerFailedToStart(f"ended with {self._process.returncode}:\n{self.tail()}")
            if self._owns(ports) and ready():
                return
            if time.monotonic() > deadline:
                self.kill()
                raise ServerFailedToStart(f"not ready after {timeout_s:.0f} s:\n{self.tail()}")
            time.sleep(_POLL_S)

    def stop(self, with_signal: signal.Signals = signal.SIGTERM, timeout_s: float = 20.0) -> None:
        """End the process in its own time, then whatever is left of its group."""
        if self._process.poll() is None:
            self._process.send_signal(with_signal)
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(timeout_s)
        self.kill()

    def kill(self) -> None:
        """End the process and its group at once, as a crash would. Idempotent."""
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()

    def tail(self) -> str:
        """The end of the log."""
        return self.log.read_bytes()[-_LOG_TAIL_BYTES:].decode(errors="replace")

    def _owns(self, ports: Sequence[int]) -> bool:
        try:
            process = psutil.Process(self.pid)
            members = [process, *process.children(recursive=True)]
            listening = {
                connection.laddr.port
                for member in members
                for connection in member.net_connections(kind="inet")
                if connection.status == psutil.CONN_LISTEN
            }
        except psutil.NoSuchProcess:
            return False
        return listening.issuperset(ports)


def started(start: Callable[[], ServerProcess], attempts: int = 3) -> ServerProcess:
    """What `start` gives, tried again where another process took a port that was free."""
    for _ in range(attempts - 1):
        with suppress(ServerFailedToStart):
            return start()
    return start()
