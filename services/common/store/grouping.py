"""Work that waits for a thread at the same time is done by it together."""

from __future__ import annotations

import asyncio
from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import Context, copy_context
from dataclasses import dataclass
from typing import Any, Generic, TypeAlias, TypeVar

T = TypeVar("T")
ArgumentT = TypeVar("ArgumentT")

Work: TypeAlias = Callable[[ArgumentT], Any]  # each caller's work gives another type


@dataclass(frozen=True, slots=True)
class Failed:
    """The work raised `error`."""

    error: Exception


Outcome: TypeAlias = Any
"""What a work gave, or `Failed`."""


@dataclass(frozen=True, slots=True)
class _Waiting(Generic[ArgumentT]):
    work: Work[ArgumentT]
    loop: asyncio.AbstractEventLoop
    answer: asyncio.Future[Any]


class GroupRunner(Generic[ArgumentT]):
    """Threads that each take all the work that waits, up to a limit, and do it in one go.

    Under load that saves what each go costs (a commit, a hop between threads); a work that
    finds no other waiting is done at once and alone.

    Args:
        together: Does the works in their order and gives an outcome for each; raises what
            befalls all of them. Called in a thread.
        threads: How many goes run at once.
        name: Of the threads.
        limit: Most works in one go.
    """

    def __init__(
        self,
        together: Callable[[Sequence[Work[ArgumentT]]], Sequence[Outcome]],
        *,
        threads: int,
        name: str,
        limit: int,
    ) -> None:
        self._together = together
        self._limit = limit
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix=name)
        self._waiting: deque[_Waiting[ArgumentT]] = deque()

    async def run(self, work: Callable[[ArgumentT], T]) -> T:
        """What `work` gives; it runs in this task's context, and maybe more than once."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[T] = loop.create_future()
        self._waiting.append(_Waiting(_within(copy_context(), work), loop, answer))
        # One go for each work: those that find it already done end at once.
        self._threads.submit(self._go)
        return await answer

    def close(self) -> None:
        """Wait until everything that waits is done."""
        self._threads.shutdown()

    def _go(self) -> None:
        taken: list[_Waiting[ArgumentT]] = []
        while len(taken) < self._limit:
            try:
                waiting = self._waiting.popleft()
            except IndexError:
                break
            if not waiting.answer.cancelled():
                taken.append(waiting)
        if not taken:
            return
        try:
            outcomes = self._together([each.work for each in taken])
        except Exception as error:  # noqa: BLE001 - raised again in every caller
            outcomes = [Failed(error)] * len(taken)
        _answer(taken, outcomes)


def _within(context: Context, work: Callable[[ArgumentT], T]) -> Callable[[ArgumentT], T]:
    return lambda argument: context.run(work, argument)


def _answer(taken: Sequence[_Waiting[Any]], outcomes: Sequence[Outcome]) -> None:
    """Wake each event loop once for all of its callers."""
    by_loop = defaultdict(list)
    for each, outcome in zip(taken, outcomes, strict=True):
        by_loop[each.loop].append((each.answer, outcome))
    for loop, answers in by_loop.items():
        loop.call_soon_threadsafe(_settle, answers)


def _settle(answers: Sequence[tuple[asyncio.Future[Any], Outcome]]) -> None:
    for answer, outcome in answers:
        if answer.cancelled():
            continue
        if isinstance(outcome, Failed):
            answer.set_exception(outcome.error)
        else:
            answer.set_result(outcome)
