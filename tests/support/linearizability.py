"""Checks histories of one compare-and-set register (Wing and Gong 1993, Lowe 2017).

A history is linearizable if each operation can be given a moment between its call and
its return so that, in the order of those moments, every result is right.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True, slots=True)
class Read:
    """Gave `value`."""

    value: str


@dataclass(frozen=True, slots=True)
class CompareAndSet:
    """Put `new` in place of `expected`, if `succeeded`; None: nobody knows."""

    expected: str
    new: str
    succeeded: bool | None


@dataclass(frozen=True, slots=True)
class Operation:
    """What one client saw.

    Attributes:
        call: When it was sent.
        end: When its answer came; `inf` if it never did.
        what: The operation and its result.
    """

    call: float
    end: float
    what: Read | CompareAndSet


@dataclass(eq=False, slots=True)
class _Entry:
    index: int
    kind: Literal["call", "return"]
    match: _Entry | None = None
    before: _Entry | None = field(default=None, repr=False)
    after: _Entry | None = field(default=None, repr=False)

    def lift(self) -> None:
        assert self.before is not None
        self.before.after = self.after
        if self.after is not None:
            self.after.before = self.before

    def put_back(self) -> None:
        assert self.before is not None
        self.before.after = self
        if self.after is not None:
            self.after.before = self


class SearchTooLong(RuntimeError):
    """So many operations overlap that the search was given up; nothing is known."""


def is_linearizable(history: Sequence[Operation], initial: str = "") -> bool:
    """Whether some order of the operations explains every result."""
    return stuck_at(history, initial) is None


def stuck_at(
    history: Sequence[Operation], initial: str = "", *, max_steps: int = 5_000_000
) -> Operation | None:
    """The earliest operation that no order explains; None if one explains them all.

    Needs time exponential in the number of operations that overlap, and little for others:
    tens of thousands of operations of a few clients take seconds.

    Raises:
        SearchTooLong: After `max_steps` steps.
    """
    operations = sorted(history, key=lambda operation: operation.call)
    head = _linked(operations)
    done, state = 0, initial
    seen: set[tuple[int, int, str]] = set()
    taken: list[tuple[_Entry, str]] = []
    stuck: Operation | None = None
    entry = head.after
    for _ in range(max_steps):
        if head.after is None:
            return None
        if entry is not None and entry.kind == "call":
            following = _step(state, operations[entry.index].what)
            reached = done | (1 << entry.index)
            if following is not None and _is_new(seen, reached, following):
                taken.append((entry, state))
                done, state = reached, following
                assert entry.match is not None
                entry.lift()
                entry.match.lift()
                entry = head.after
            else:
                entry = entry.after
            continue
        if entry is not None:
            blocked = operations[entry.index]
            stuck = blocked if stuck is None or blocked.end > stuck.end else stuck
        if not taken:
            return stuck
        entry, state = taken.pop()
        done &= ~(1 << entry.index)
        assert entry.match is not None
        entry.match.put_back()
        entry.put_back()
        entry = entry.after
    raise SearchTooLong(f"{len(operations)} operations, {max_steps} steps")


def _is_new(seen: set[tuple[int, int, str]], done: int, state: str) -> bool:
    """Whether the search comes here for the first time; notes that it did."""
    # All before the first one that isn't done are: a number for them keeps the rest short.
    first_open = (~done & (done + 1)).bit_length() - 1
    here = (first_open, done >> first_open, state)
    if here in seen:
        return False
    seen.add(here)
    return True


def _step(state: str, what: Read | CompareAndSet) -> str | None:
    """The state after the operation, or None if its result can't follow from `state`."""
    if isinstance(what, Read):
        return state if what.value == state else None
    matches = state == what.expected
    if what.succeeded is not None and what.succeeded != matches:
        return None
    return what.new if matches else state


def _linked(history: Sequence[Operation]) -> _Entry:
    moments = []
    for index, operation in enumerate(history):
        answer = _Entry(index, "return")
        moments.append((operation.call, 0, index, _Entry(index, "call", answer)))
        moments.append((operation.end, 1, index, answer))
    head = last = _Entry(-1, "call")
    for *_, entry in sorted(moments, key=lambda moment: moment[:3]):
        entry.before = last
        last.after = entry
        last = entry
    return head
