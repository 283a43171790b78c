"""What requests are served by: the endpoints, with those of their versions that are loaded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from services.inference.core.endpoints import Endpoint, Runtime, number_of
from services.inference.core.errors import SignatureMismatch
from services.inference.core.mirroring import ServedShadow
from services.inference.core.observing import OBSERVE_ALL, Observer
from services.inference.core.ports import Bundle, FallbackMeter, LoadedModel, Meter, Meters
from services.inference.core.routing import Variant
from services.inference.core.served import ServedEndpoint, ServedFallback, ServedVariant
from services.inference.core.signature import Signature

HostKey: TypeAlias = tuple[Runtime, str]
"""Where a version is loaded, and the digest of its bundle."""


@dataclass(frozen=True, slots=True)
class Hosted:
    """A version that is loaded and warm."""

    bundle: Bundle
    model: LoadedModel


class ServingTable:
    """Builds the table that requests are looked up in; variants keep their meters across tables.

    Args:
        hosted: What is loaded, as it is at any moment; its owner keeps it so.
        meters: One per variant of an endpoint.
        redaction_key: Of the digests that stand for redacted texts; empty: they are dropped.
    """

    def __init__(
        self, hosted: Mapping[HostKey, Hosted], meters: Meters, redaction_key: bytes
    ) -> None:
        self._hosted = hosted
        self._meters = meters
        self._redaction_key = redaction_key
        self._live_meters: dict[tuple[str, str], Meter] = {}
        self._live_fallbacks: dict[str, FallbackMeter] = {}

    def build(self, endpoints: Sequence[Endpoint]) -> dict[str, ServedEndpoint]:
        """By each name that an endpoint answers to, what serves it.

        A variant that is not loaded gets no requests.
        """
        table: dict[str, ServedEndpoint] = {}
        live: dict[tuple[str, str], Meter] = {}
        fallbacks: dict[str, FallbackMeter] = {}
        for endpoint in endpoints:
            served = ServedEndpoint(
                endpoint.name,
                endpoint.decider,
                self._served(endpoint, live),
                endpoint.logs_observations,
                self._shadow(endpoint),
                self._fallback(endpoint, live, fallbacks),
                endpoint.forbids_pins,
            )
            table.update(dict.fromkeys(endpoint.answers_to, served))
        for key in self._live_meters.keys() - live.keys():
            self._live_meters[key].retire()
        self._live_meters = live
        for name in self._live_fallbacks.keys() - fallbacks.keys():
            self._live_fallbacks[name].retire()
        self._live_fallbacks = fallbacks
        return table

    def _served(
        self, endpoint: Endpoint, live: dict[tuple[str, str], Meter]
    ) -> tuple[ServedVariant, ...]:
        served = (self._served_variant(endpoint, each, live) for each in endpoint.variants)
        return tuple(each for each in served if each is not None)

    def _served_variant(
        self, endpoint: Endpoint, variant: Variant, live: dict[tuple[str, str], Meter]
    ) -> ServedVariant | None:
        """None if it is not loaded."""
        hosted = self._hosted.get((endpoint.runtime, variant.digest))
        if hosted is None:
            return None
        number = number_of(variant.version)
        key = (endpoint.name, number)
        meter = live.get(key) or self._live_meters.get(key)
        live[key] = meter = meter or self._meters.meter(*key, hosted.model)
        signature = hosted.bundle.signature
        return ServedVariant(
            variant, number, signature, hosted.model, meter, self._observer(endpoint, signature)
        )

    def _fallback(
        self,
        endpoint: Endpoint,
        live: dict[tuple[str, str], Meter],
        fallbacks: dict[str, FallbackMeter],
    ) -> ServedFallback | None:
        declared = endpoint.fallback
        if declared is None:
            return None
        name = endpoint.name
        meter = self._live_fallbacks.get(name) or self._meters.fallback_meter(name)
        fallbacks[name] = meter
        served = (
            None
            if declared.variant is None
            else self._served_variant(endpoint, declared.variant, live)
        )
        return ServedFallback(declared.decision, served, declared.budget_s, meter)

    def _observer(self, endpoint: Endpoint, signature: Signature) -> Observer | None:
        rules = endpoint.observation_rules
        if rules == OBSERVE_ALL and not signature.other:
            return None
        return Observer(endpoint.name, rules, signature, self._redaction_key)

    def _shadow(self, endpoint: Endpoint) -> ServedShadow | None:
        shadow = endpoint.shadow
        if shadow is None:
            return None
        for variant in endpoint.variants:
            hosted = self._hosted.get((endpoint.runtime, variant.digest))
            if variant.version == shadow.version and hosted is not None:
                return ServedShadow(
                    endpoint.name,
                    variant.version,
                    shadow.report,
                    shadow.sample_bp,
                    hosted.bundle.signature,
                    hosted.model,
                    endpoint.decider,
                    endpoint.logs_observations,
                    self._observer(endpoint, hosted.bundle.signature),
                )
        return None


def mismatch(stable: Bundle, candidate: Bundle) -> SignatureMismatch | None:
    """The first tensor whose callers would break, if `candidate` took over from `stable`."""
    old = {spec.name: spec for spec in stable.signature.inputs}
    new = {spec.name: spec for spec in candidate.signature.inputs}
    for name in sorted(old.keys() | new.keys()):
        if name not in new:
            return SignatureMismatch(candidate.version, name, "is missing")
        if name not in old:
            return SignatureMismatch(candidate.version, name, "is new")
        if new[name].datatype is not old[name].datatype:
            return SignatureMismatch(candidate.version, name, f"became {new[name].datatype}")
        if old[name].nullable and not new[name].nullable:
            return SignatureMismatch(candidate.version, name, "may no longer be missing")
    told, tells = stable.signature.told, candidate.signature.told
    if told.name != tells.name:
        return SignatureMismatch(candidate.version, told.name, "is missing", "Output")
    if (told.shape, told.classes) != (tells.shape, tells.classes):
        return SignatureMismatch(candidate.version, told.name, "tells other classes", "Output")
    return None
