"""Which variant of an endpoint answers a request."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from itertools import accumulate
from typing import Final

from services.inference.core.errors import InvalidWeights

WHOLE_BP: Final = 10_000


@dataclass(frozen=True, slots=True)
class Variant:
    """A version that an endpoint holds.

    Attributes:
        version: `projects/{p}/models/{m}/versions/{v}`.
        digest: Of the version's manifest: what must be loaded, byte for byte.
        weight_bp: Share of the traffic in basis points; 0 keeps it loaded but idle.
    """

    version: str
    digest: str
    weight_bp: int


def check_weights(variants: Sequence[Variant]) -> None:
    """Accept variants that split the whole traffic among distinct versions.

    Raises:
        InvalidWeights: They don't.
    """
    if len({variant.version for variant in variants}) != len(variants):
        raise InvalidWeights("a version appears twice")
    if any(not 0 <= variant.weight_bp <= WHOLE_BP for variant in variants):
        raise InvalidWeights(f"a weight is not between 0 and {WHOLE_BP} basis points")
    if (total := sum(variant.weight_bp for variant in variants)) != WHOLE_BP:
        raise InvalidWeights(f"they add up to {total} basis points, not {WHOLE_BP}")


def bucket(endpoint: str, key: str) -> int:
    """The caller's fixed place in [0, 10000), uniform over keys."""
    digest = blake2b(f"{endpoint}\0{key}".encode(), digest_size=8).digest()
    return int.from_bytes(digest) % WHOLE_BP


class Split:
    """A split of the traffic over positions 0, 1, ... by cumulative share.

    The first position owns the lowest buckets, so while its share grows no
    caller that it has served leaves it: put the candidate first.
    """

    def __init__(self, weights_bp: Sequence[int]) -> None:
        self._ends = list(accumulate(weights_bp))

    def position(self, bucket: int) -> int:
        """The position that owns `bucket`, in [0, sum of weights)."""
        return bisect_right(self._ends, bucket)

    @property
    def total_bp(self) -> int:
        """Sum of the weights."""
        return self._ends[-1] if self._ends else 0
