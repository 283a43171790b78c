"""A helper: computes gradients for a worker as long as that lives, and knows nothing else."""

from __future__ import annotations

import socket
import struct
from multiprocessing.connection import Connection, answer_challenge, deliver_challenge
from typing import Final

import structlog
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # ships no types

from services.common.telemetry import configure_logs
from services.trainer.adapters.learning.crew import Gradients
from services.trainer.adapters.learning.epochs import one_thread
from services.trainer.adapters.learning.shards import ShardBench, SharedFit
from services.trainer.adapters.worker.config import HelperConfig
from services.trainer.adapters.worker.gpus import hold_gpu
from services.trainer.adapters.worker.limits import (
    end_with,
    limit_memory,
    outlive_interrupts,
    yield_to_services,
)
from services.trainer.adapters.worker.messages import (
    Answered,
    Asked,
    answered_bytes,
    said_by_worker,
)
from services.trainer.core.failures import OutOfMemory

log = structlog.get_logger()

NAME: Final = "trainer-helper"

CONNECT_TIMEOUT_S: Final = 30.0

SILENT_FOR_S: Final = 5
"""Of a machine that says nothing any more, not even that it has heard: then the kernel asks."""

UNHEARD_FOR_MS: Final = 15_000
"""After so long without an answer from the other machine's kernel the connection is lost."""


def help_worker(config: HelperConfig) -> None:
    """Compute what the worker asks for; the process ends with it, however that ends."""
    outlive_interrupts()
    yield_to_services()
    configure_logs(NAME, config.log_level)
    limit_memory(config.memory_mib)
    if config.gpus is not None:
        hold_gpu(config.gpus)
    try:
        connection = _connected(config)
    except (OSError, EOFError) as error:
        log.info("helper.not_wanted", worker=config.worker, cause=repr(error))
        return
    log.info("helper.started", worker=config.worker)
    end_with(connection)
    with connection, threadpool_limits(config.cores), one_thread():
        _serve(connection)


def tuned(meeting: socket.socket) -> socket.socket:
    """The socket, on which small messages go at once and lost machines are noticed."""
    meeting.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    meeting.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    meeting.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, SILENT_FOR_S)
    meeting.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, SILENT_FOR_S)
    meeting.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNHEARD_FOR_MS)
    return meeting


def limit_silence(meeting: socket.socket, seconds: int) -> None:
    """Have reads and writes fail that wait for so long; 0 means never."""
    span = struct.pack("ll", seconds, 0)
    meeting.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, span)
    meeting.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, span)


def _connected(config: HelperConfig) -> Connection:
    host, _, port = config.address.rpartition(":")
    meeting = tuned(socket.create_connection((host, int(port)), CONNECT_TIMEOUT_S))
    meeting.settimeout(None)
    connection = Connection(meeting.detach())
    key = config.key.encode()
    answer_challenge(connection, key)
    deliver_challenge(connection, key)
    return connection


def _serve(connection: Connection) -> None:
    bench: ShardBench | None = None
    while True:
        try:
            said = connection.recv_bytes()
        except (OSError, EOFError):
            return  # the worker has ended
        match said_by_worker(said):
            case SharedFit() as fit:
                bench = ShardBench(fit)
            case Asked() as asked:
                assert bench is not None, "a worker says first what it trains"
                answer = Answered(asked.number, _found(bench, asked))
                connection.send_bytes(answered_bytes(answer))


def _found(bench: ShardBench, asked: Asked) -> Gradients | OutOfMemory:
    try:
        return bench.gradients(asked.batch, asked.shards, asked.weights)
    except MemoryError:
        return OutOfMemory("a worker ran out of memory")
    except OutOfMemory as error:
        return error
