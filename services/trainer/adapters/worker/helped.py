"""A worker and the helpers that come to it: whoever is there shares the shards of each batch."""

from __future__ import annotations

import os
import select
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass
from multiprocessing import AuthenticationError
from multiprocessing.connection import Connection, answer_challenge, deliver_challenge

import numpy as np
import structlog

from services.trainer.adapters.learning.crew import Batch, Gradients, Vector
from services.trainer.adapters.learning.shards import ShardBench, SharedFit
from services.trainer.adapters.worker.helper import limit_silence, tuned
from services.trainer.adapters.worker.messages import (
    HEADER_BYTES,
    Asked,
    MalformedMessage,
    answered,
    asked_bytes,
    fit_bytes,
)
from services.trainer.core.failures import OutOfMemory, WorkerLost
from services.trainer.core.parallelism import Parallelism, shared_out

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a worker waits for helpers, in seconds.

    Attributes:
        gathering_s: For more, where there are too few: a process of this machine takes a second,
            one on a node of Ray ten, on one that comes up a minute.
        greeting_s: Until whoever connects has proved to be a helper.
        silence_s: For what a helper computes, which is less than what the worker does; a stuck one
            counts as lost.
    """

    gathering_s: float = 120.0
    greeting_s: int = 5
    silence_s: int = 120


class Helper:
    """One helper that has come.

    Args:
        connection: To it.
        place: Where it runs, for the log.
    """

    def __init__(self, connection: Connection, place: str) -> None:
        self._connection = connection
        self.place = place

    def begin(self, fit: bytes) -> None:
        """Have it turn to `fit`, a message.

        Raises:
            OSError: It is lost.
        """
        self._connection.send_bytes(fit)

    def ask(self, asked: Asked) -> None:
        """Have it compute something.

        Raises:
            OSError: It is lost.
        """
        self._connection.send_bytes(asked_bytes(asked))

    def answer(self, asked: Asked, limit_bytes: int) -> Gradients:
        """What it has computed of what was asked.

        Raises:
            OSError, EOFError, MalformedMessage: It is lost, or no helper.
            OutOfMemory: It needs more memory than there is.
        """
        while (said := answered(self._connection.recv_bytes(limit_bytes))).number != asked.number:
            pass  # to a question that nobody waits for any more
        if isinstance(said.found, OutOfMemory):
            raise said.found
        shape = (len(asked.shards), asked.weights.size)
        if said.found.values.shape != shape or len(said.found.losses) != shape[0]:
            raise MalformedMessage(f"gradients of {said.found.values.shape}, not {shape}")
        return said.found

    def close(self) -> None:
        """Let it go; it ends by itself."""
        self._connection.close()


class HelpedCrew:
    """See `Crew`. Everything happens in the thread that trains.

    Args:
        parallelism: How many workers are needed, and wanted.
        listener: Where helpers come; None where none is wanted.
        key: By which they are known.
        patience: How long it waits for what.
    """

    def __init__(
        self,
        parallelism: Parallelism,
        listener: socket.socket | None,
        key: str,
        patience: Patience = Patience(),
    ) -> None:
        self._parallelism = parallelism
        self._listener = listener
        self._key = key.encode()
        self._patience = patience
        self._helpers: list[Helper] = []
        self._fit = b""
        self._own: ShardBench | None = None
        self._fewest = 1
        self._questions = 0

    @property
    def shards(self) -> int:
        """Parts of each batch."""
        return self._parallelism.shards

    @property
    def fewest(self) -> int:
        """Workers, itself included, that have computed each batch since the epoch began."""
        return self._fewest

    def begin(self, fit: SharedFit) -> None:
        """Turn to `fit`, whatever was done before."""
        self._fit, self._own = fit_bytes(fit), ShardBench(fit)
        for helper in list(self._helpers):
            self._told(helper)

    def begin_epoch(self) -> None:
        """Take up the helpers that have come since.

        Raises:
            WorkerLost: There are too few workers, and no more come.
        """
        self._gather()
        self._fewest = self._workers

    def gradients(self, batch: Batch, weights: Vector) -> Gradients:
        """What all shards of `batch` say with `weights`.

        Raises:
            OutOfMemory: A worker needs more memory than there is.
            WorkerLost: There are too few workers, and no more come.
        """
        assert self._own is not None, "nothing was begun"
        if self._workers < self._parallelism.min_workers:
            self._gather()
        self._questions += 1
        own, *others = shared_out(self.shards, self._workers)
        questions = [Asked(self._questions, batch, shards, weights) for shards in others]
        asked = {
            helper: question
            for helper, question in zip(list(self._helpers), questions, strict=True)
            if self._asked(helper, question)
        }
        found = {own: self._own.gradients(batch, own, weights)}
        limit_bytes = self.shards * weights.nbytes + HEADER_BYTES
        for helper, question in asked.items():
            try:
                found[question.shards] = helper.answer(question, limit_bytes)
            except (OSError, EOFError, MalformedMessage) as error:
                self._lost(helper, error)
        for shards in others:
            if shards not in found:
                found[shards] = self._own.gradients(batch, shards, weights)
        self._fewest = min(self._fewest, self._workers)
        return _in_order(found)

    def close(self) -> None:
        """Let all helpers go."""
        for helper in self._helpers:
            helper.close()
        if self._listener is not None:
            self._listener.close()

    @property
    def _workers(self) -> int:
        return 1 + len(self._helpers)

    def _gather(self) -> None:
        deadline = time.monotonic() + self._patience.gathering_s
        least, most = self._parallelism.min_workers, self._parallelism.max_workers
        while self._workers < most:
            missing = self._workers < least
            patience_s = deadline - time.monotonic() if missing else 0.0
            if not self._somebody_comes(max(0.0, patience_s)):
                break
            self._welcome()
        if self._workers < least:
            raise WorkerLost(
                f"{self._workers} workers were there, of {least} at least, and no more came within "
                f"{self._patience.gathering_s:g} s"
            )

    def _somebody_comes(self, patience_s: float) -> bool:
        if self._listener is None:
            return False
        ready, _, _ = select.select([self._listener], [], [], patience_s)
        return bool(ready)

    def _welcome(self) -> None:
        """Take up whoever has come, if it is a helper."""
        assert self._listener is not None, "nobody comes where nobody listens"
        meeting, address = self._listener.accept()
        place = f"{address[0]}:{address[1]}"
        with meeting:
            limit_silence(tuned(meeting), self._patience.greeting_s)
            connection = Connection(os.dup(meeting.fileno()))
            try:
                deliver_challenge(connection, self._key)
                answer_challenge(connection, self._key)
            except (OSError, EOFError, AuthenticationError) as error:
                log.warning("helper.refused", place=place, cause=repr(error))
                connection.close()
                return
            limit_silence(meeting, self._patience.silence_s)
        helper = Helper(connection, place)
        self._helpers.append(helper)
        if self._fit:
            self._told(helper)

    def _told(self, helper: Helper) -> None:
        try:
            helper.begin(self._fit)
        except OSError as error:
            self._lost(helper, error)

    def _asked(self, helper: Helper, asked: Asked) -> bool:
        try:
            helper.ask(asked)
        except OSError as error:
            self._lost(helper, error)
            return False
        return True

    def _lost(self, helper: Helper, error: Exception) -> None:
        log.warning("helper.lost", place=helper.place, cause=repr(error))
        self._helpers.remove(helper)
        helper.close()


def _in_order(found: Mapping[range, Gradients]) -> Gradients:
    parts = [part for _, part in sorted(found.items(), key=lambda each: each[0].start)]
    return Gradients(
        tuple(loss for part in parts for loss in part.losses),
        np.concatenate([part.values for part in parts]),
    )
