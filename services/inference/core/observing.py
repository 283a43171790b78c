"""Which requests an endpoint observes, and what of their features leaves the process."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from hashlib import blake2b
from typing import Final

import numpy as np
from numpy.typing import NDArray

from services.inference.core.errors import InvalidObservationRules, RedactionKeyMissing
from services.inference.core.rows import Rows
from services.inference.core.signature import Datatype, InputSpec, Signature

_DIGEST_BYTES: Final = 16
_PLACE_BYTES: Final = 8
_PLACES: Final = float(1 << 8 * _PLACE_BYTES)
_FLOATS: Final = np.finfo(np.float32)


class Treatment(StrEnum):
    """What becomes of a feature that may not leave the process."""

    DROP = "DROP"
    DIGEST = "DIGEST"


@dataclass(frozen=True, slots=True)
class Redaction:
    """A feature by name, and what becomes of it."""

    feature: str
    treatment: Treatment


@dataclass(frozen=True, slots=True)
class ObservationRules:
    """What an endpoint tells of its requests.

    Attributes:
        sample_rate: Share of the requests that are observed, above 0, at most 1.
        redactions: Features whose values are never written or sent.
    """

    sample_rate: float = 1.0
    redactions: tuple[Redaction, ...] = ()

    def __post_init__(self) -> None:
        """Refuse rules that contradict themselves.

        Raises:
            InvalidObservationRules: Naming the field.
        """
        if not 0.0 < self.sample_rate <= 1.0:
            raise InvalidObservationRules("sample_rate", "is not above 0 and at most 1")
        names = [each.feature for each in self.redactions]
        for place, name in enumerate(names):
            if name in names[:place]:
                raise InvalidObservationRules(f"redactions[{place}].feature", "is given twice")

    def check(self, signature: Signature, *, has_key: bool) -> None:
        """Pass if the rules can be kept for rows of `signature`.

        Raises:
            InvalidObservationRules: A feature is no input, or a number is to be digested.
            RedactionKeyMissing: A digest is asked for and the service has no key.
        """
        for place, each in enumerate(self.redactions):
            field = f"redactions[{place}].feature"
            if each.feature not in signature.slots:
                known = ", ".join(signature.slots)
                raise InvalidObservationRules(field, f"is no input; there are {known}")
            if each.treatment is not Treatment.DIGEST:
                continue
            if signature.slots[each.feature][0].datatype is not Datatype.BYTES:
                raise InvalidObservationRules(
                    field, "is a number, of which a digest could be guessed: drop it"
                )
            if not has_key:
                raise RedactionKeyMissing(each.feature)


OBSERVE_ALL: Final = ObservationRules()
"""Every request with every feature."""


class Observer:
    """One version's rules made ready, when they are loaded and not per request.

    Observations know float32 and texts: numbers of other types are told as the nearest float32.

    Args:
        endpoint: Resource name; each samples for itself.
        rules: The endpoint's.
        signature: The version's.
        key: Of the digests; without one, what should be digested is dropped.
    """

    def __init__(
        self, endpoint: str, rules: ObservationRules, signature: Signature, key: bytes
    ) -> None:
        self._prefix = f"{endpoint}\0".encode()
        self._rate = rules.sample_rate
        self._key = key
        treatments = {each.feature: each.treatment for each in rules.redactions}
        kept = {
            spec.name
            for spec in signature.inputs
            if spec.name not in treatments or (key and treatments[spec.name] is Treatment.DIGEST)
        }
        self.signature = Signature(
            tuple(_told(spec) for spec in signature.inputs if spec.name in kept),
            signature.outputs,
        )
        lines = [spec.name for spec in (*signature.numeric, *signature.other)]
        self._numeric = [lines.index(spec.name) for spec in self.signature.numeric]
        self._text = [
            (i, spec.name in treatments)
            for i, spec in enumerate(signature.text)
            if spec.name in kept
        ]

    def samples(self, prediction_id: str) -> bool:
        """Whether the request is observed: the same for each repeat, on each replica."""
        if self._rate >= 1.0:
            return True
        digest = blake2b(self._prefix + prediction_id.encode(), digest_size=_PLACE_BYTES).digest()
        return int.from_bytes(digest) / _PLACES < self._rate

    def seen(self, rows: Rows) -> Rows:
        """What may be told of `rows`, of this observer's signature."""
        return Rows(
            rows.count,
            np.ascontiguousarray(_lines(rows)[self._numeric]),
            tuple(
                self._digests(rows.text[i]) if is_digested else rows.text[i]
                for i, is_digested in self._text
            ),
        )

    def _digests(self, values: Sequence[str]) -> list[str]:
        """Keyed, since without a key short texts could be guessed; '' stays missing."""
        return [
            blake2b(value.encode(), key=self._key, digest_size=_DIGEST_BYTES).hexdigest()
            if value
            else ""
            for value in values
        ]


def _told(spec: InputSpec) -> InputSpec:
    """The input as observations have it."""
    return spec if spec.datatype is Datatype.BYTES else replace(spec, datatype=Datatype.FP32)


def _lines(rows: Rows) -> NDArray[np.float32]:
    """All numbers, float32 [features, rows]; finite ones stay finite."""
    if not rows.other:
        return rows.numeric
    other = np.clip(np.array(rows.other, dtype=np.float64), _FLOATS.min, _FLOATS.max)
    return np.concatenate([rows.numeric, other.astype(np.float32)])
