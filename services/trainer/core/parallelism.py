"""How many workers train a network together; how many they are doesn't change what it learns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

USUAL_SHARDS: Final = 8


@dataclass(frozen=True, slots=True)
class Parallelism:
    """How the batches of a network are shared out.

    Attributes:
        min_workers: Fewer don't train, at least 1.
        max_workers: More are not wanted.
        shards: Parts of each batch. Gradients are computed for each and added in their order, so
            they decide the bits, whoever computes them.
    """

    min_workers: int
    max_workers: int
    shards: int = USUAL_SHARDS

    def __str__(self) -> str:
        few, many = self.min_workers, self.max_workers
        return f"{many} workers" if few == many else f"{few} to {many} workers"


def shared_out(shards: int, workers: int) -> list[range]:
    """The shards of each worker, in order: as many for each, but for one.

    Args:
        shards: That there are.
        workers: Among whom, at least 1.
    """
    bounds = [shards * worker // workers for worker in range(workers + 1)]
    return [range(first, last) for first, last in pairwise(bounds)]


def parallelism_from_json(document: Mapping[str, Any]) -> Parallelism:
    """The proto3 JSON of the contract's Parallelism, with its field names."""
    return Parallelism(
        min_workers=document.get("min_workers") or 1,
        max_workers=document["max_workers"],
        shards=document.get("shards") or USUAL_SHARDS,
    )
