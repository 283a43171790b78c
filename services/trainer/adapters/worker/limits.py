"""What a worker's processes may take of the machine, and for how long."""

from __future__ import annotations

import os
import resource
import select
import signal
import threading
from multiprocessing.connection import Connection
from typing import Final

NICENESS: Final = 10
"""Below the services on the same cores: a request in flight matters more than training time."""

_ABANDONED_EXIT_STATUS: Final = 76


def limit_memory(mib: int) -> None:
    """Let this process and its children allocate so much each; 0 means no limit."""
    if mib:
        # Not the address space: a learning library reserves far more of it than it ever uses.
        resource.setrlimit(resource.RLIMIT_DATA, (mib * 2**20, mib * 2**20))


def outlive_interrupts() -> None:
    """Let the trainer alone decide when this process ends: Ctrl-C goes to the whole group."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def yield_to_services() -> None:
    """Have services go before this thread, and before what it starts.

    Linux counts niceness by the thread. So a thread that trains need not hold up the one that
    prolongs the worker's claim, which takes next to nothing.
    """
    os.nice(NICENESS)


def end_with(connection: Connection) -> None:
    """End this process at once when the other end of `connection` is closed, however that ends."""
    threading.Thread(target=_await_end, args=(connection.fileno(),), daemon=True).start()


def _await_end(descriptor: int) -> None:
    poll = select.poll()
    poll.register(descriptor, select.POLLRDHUP)
    poll.poll()  # returns when the other end is closed, and for nothing else
    os._exit(_ABANDONED_EXIT_STATUS)
