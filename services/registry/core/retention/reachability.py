"""What is kept, and by what: roots, and all that they lead to."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum


class RootKind(StrEnum):
    """What keeps something."""

    ALIAS = "ALIAS"
    PIN = "PIN"
    HOLD = "HOLD"
    APPROVAL = "APPROVAL"
    OPEN = "OPEN"
    RETENTION = "RETENTION"
    LINEAGE = "LINEAGE"


@dataclass(frozen=True, slots=True)
class Root:
    """One reason to keep something.

    Attributes:
        name: Resource that keeps it.
    """

    kind: RootKind
    name: str


@dataclass(frozen=True, slots=True)
class Node:
    """A version or a snapshot whose bytes are there.

    Attributes:
        name: Resource name.
        roots: What keeps it by itself.
        needs: What must stay with it, by resource name: what it was made from or judged on.
        size_bytes: Of its files.
        digests: Of its files.
        why_not: For people: why its series doesn't keep it; only where there is no root.
    """

    name: str
    roots: tuple[Root, ...]
    needs: tuple[str, ...]
    size_bytes: int
    digests: tuple[str, ...]
    why_not: str = ""


def kept(nodes: Sequence[Node]) -> Mapping[str, Root]:
    """What stays, each with what keeps it; what has a root of its own names that.

    Args:
        nodes: All that has bytes.
    """
    by_name = {node.name: node for node in nodes}
    found = {node.name: node.roots[0] for node in nodes if node.roots}
    waiting = deque(found)
    while waiting:
        name = waiting.popleft()
        for needed in by_name[name].needs:
            if needed in by_name and needed not in found:
                found[needed] = Root(RootKind.LINEAGE, name)
                waiting.append(needed)
    return found
