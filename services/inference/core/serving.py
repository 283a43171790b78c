"""The data plane: route a request, run it, decide, keep the observation."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from services.common.errors import ServiceError
from services.inference.core.decisions import Decider, Decision
from services.inference.core.drills import AnswerWatch
from services.inference.core.errors import (
    EndpointNotFound,
    InvalidTensors,
    ModelFailed,
    ModelUnavailable,
    QueueDeadlineExceeded,
    QueueFull,
    VersionNotLoaded,
)
from services.inference.core.fallbacks import DefaultDecision, FallbackReason
from services.inference.core.mirroring import Copy, Mirror, ServedShadow
from services.inference.core.observing import Observer
from services.inference.core.ports import (
    FallbackMeter,
    LoadedModel,
    Meter,
    Observation,
    ObservationLog,
    Outcome,
)
from services.inference.core.routing import WHOLE_BP, Split, Variant, bucket
from services.inference.core.rows import Rows, RowSource, Tensors
from services.inference.core.signature import PROBABILITIES, Signature

DECISION_LABEL = "decision_label"
DECISION_ACTION = "decision_action"
CONFIDENCE = "confidence"
DECISION_OUTPUTS = frozenset({DECISION_LABEL, DECISION_ACTION, CONFIDENCE})

_LABELS = (np.zeros(1, dtype=np.int64), np.ones(1, dtype=np.int64))
"""Of one row, by its label; not to be written to."""

_OUTCOMES: dict[type[ServiceError], Outcome] = {
    InvalidTensors: Outcome.INVALID,
    QueueFull: Outcome.OVERLOADED,
    QueueDeadlineExceeded: Outcome.EXPIRED,
}


@dataclass(frozen=True, slots=True)
class ServedVariant:
    """A loaded version of an endpoint.

    Attributes:
        observer: What may be told of its rows; None: everything.
    """

    variant: Variant
    number: str
    signature: Signature
    model: LoadedModel
    meter: Meter
    observer: Observer | None = None

    def observed(self, prediction_id: str, rows: Rows) -> tuple[Signature, Rows] | None:
        """What may be told of `rows`; None if they are not observed."""
        if self.observer is None:
            return self.signature, rows
        if self.observer.samples(prediction_id):
            return self.observer.signature, self.observer.seen(rows)
        self.meter.not_sampled(rows.count)
        return None


@dataclass(frozen=True, slots=True)
class NoVersion:
    """Stands where a version would, when a decision was made without one."""

    variant: Variant
    number: str


NO_VERSION = NoVersion(Variant("", "", 0), "")


@dataclass(frozen=True, slots=True)
class ServedFallback:
    """What answers when a variant can't.

    Attributes:
        decision: What is decided without a model, or
        served: the version that answers; None, too, while it is not loaded.
        budget_s: Time that the variants have; None: the caller's.
    """

    decision: DefaultDecision | None
    served: ServedVariant | None
    budget_s: float | None
    meter: FallbackMeter


@dataclass(frozen=True)
class ServedEndpoint:
    """An endpoint as it is served now; replaced whole when anything changes.

    Attributes:
        name: Resource name.
        variants: The loaded ones, in routing order; the last is the stable one.
        shadow: Gets copies of what the stable one answers.
    """

    name: str
    policy: Decider
    variants: tuple[ServedVariant, ...]
    logs_observations: bool = True
    shadow: ServedShadow | None = None
    fallback: ServedFallback | None = None

    @cached_property
    def _split(self) -> Split:
        return Split([served.variant.weight_bp for served in self.variants])

    def pinned(self, number: str) -> ServedVariant:
        """The variant whose version has this number.

        Raises:
            VersionNotLoaded: None has.
        """
        for served in self.variants:
            if served.number == number:
                return served
        raise VersionNotLoaded(self.name, number, [served.number for served in self.variants])

    def chosen(self, place: int) -> ServedVariant:
        """The variant that owns `place` in [0, 10000).

        The share of a variant that is not loaded here goes to the others.

        Raises:
            ModelUnavailable: No variant with a share is loaded.
        """
        total = self._split.total_bp
        if not total:
            raise ModelUnavailable(self.name, "no version with a share of the traffic is loaded")
        return self.variants[self._split.position(place * total // WHOLE_BP)]


@dataclass(frozen=True, slots=True)
class Query:
    """One inference request.

    Attributes:
        model: Endpoint id (default project) or resource name.
        version: Version number to pin; '' routes by weight.
        outputs: Outputs wanted; empty means all of the model's.
        event_time_us: Microseconds since the epoch; None means now.
        sticky_key: Callers with one key see one variant; '' falls back to `id`.
        deadline: `time.monotonic()` after which nobody waits.
        size_bytes: Of the request as it came.
        classes: Outputs of which only so many of the largest values are wanted.
    """

    model: str
    version: str
    id: str
    tensors: RowSource
    outputs: tuple[str, ...] = ()
    event_time_us: int | None = None
    sticky_key: str = ""
    deadline: float | None = None
    size_bytes: int = 0
    classes: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Prediction:
    """The answer to a query.

    Attributes:
        outputs: The outputs asked for, by name, each [rows, ...].
        decision: Of the only row; None when there are more.
        out_of_range: Feature values outside what training saw.
        fallback: Why the endpoint's fallback answered; '' if it did not.
    """

    served: ServedVariant | NoVersion
    policy: Decider
    id: str
    event_time_us: int
    outputs: Tensors
    decision: Decision | None
    out_of_range: int
    fallback: str = ""


class Predictor:
    """Answers inference requests from a table of served endpoints."""

    def __init__(
        self,
        log: ObservationLog,
        mirror: Mirror,
        *,
        max_rows: int,
        new_id: Callable[[], str],
        draw: Callable[[], float],
        now_us: Callable[[], int],
    ) -> None:
        self._log = log
        self._mirror = mirror
        self._watches: list[AnswerWatch] = []
        self._max_rows = max_rows
        self._new_id = new_id
        self._draw = draw
        self._now_us = now_us
        self._endpoints: Mapping[str, ServedEndpoint] = {}

    def watch(self, watch: AnswerWatch) -> None:
        """Tell `watch` of each answer from now on."""
        self._watches.append(watch)

    def unwatch(self, watch: AnswerWatch) -> None:
        """Tell it no more."""
        self._watches.remove(watch)

    def publish(self, endpoints: Mapping[str, ServedEndpoint]) -> None:
        """Serve `endpoints`, keyed by every name they answer to, from the next request on."""
        self._endpoints = endpoints

    @property
    def endpoints(self) -> Mapping[str, ServedEndpoint]:
        """What is served now, by every name."""
        return self._endpoints

    def endpoint(self, name: str) -> ServedEndpoint:
        """The endpoint that answers to `name`.

        Raises:
            EndpointNotFound: None does.
        """
        try:
            return self._endpoints[name]
        except KeyError:
            raise EndpointNotFound(name) from None

    async def predict(self, query: Query) -> Prediction:
        """Route, check, run, decide and observe.

        A request that a version on trial can't run is answered by the stable one, and one that
        that can't run either, or not within the budget, by the endpoint's fallback, if any.

        Raises:
            EndpointNotFound, VersionNotLoaded: Nothing answers to that name.
            InvalidTensors: The inputs do not fit the signature.
            QueueFull, QueueDeadlineExceeded, ModelUnavailable, ModelFailed: Not run.
        """
        if query.deadline is not None and query.deadline <= time.monotonic():
            raise QueueDeadlineExceeded
        endpoint = self.endpoint(query.model)
        if query.version:
            return await self._answered(endpoint, endpoint.pinned(query.version), query)
        if endpoint.fallback is None:
            return await self._routed(endpoint, query)
        return await self._routed_or_fallen_back(endpoint, endpoint.fallback, query)

    async def _routed(self, endpoint: ServedEndpoint, query: Query) -> Prediction:
        key = query.sticky_key or query.id
        place = bucket(endpoint.name, key) if key else int(self._draw() * WHOLE_BP)
        served = endpoint.chosen(place)
        stable = endpoint.variants[-1]
        try:
            return await self._answered(endpoint, served, query)
        except (ModelUnavailable, ModelFailed):
            if served is stable:
                raise
        return await self._answered(endpoint, stable, query)

    async def _routed_or_fallen_back(
        self, endpoint: ServedEndpoint, fallback: ServedFallback, query: Query
    ) -> Prediction:
        failure: Exception
        try:
            async with asyncio.timeout(fallback.budget_s):
                return await self._routed(endpoint, query)
        except ModelUnavailable as error:
            reason, failure = FallbackReason.UNAVAILABLE, error
        except ModelFailed as error:
            reason, failure = FallbackReason.FAILED, error
        except TimeoutError as error:
            reason, failure = FallbackReason.TIMEOUT, error
        if query.deadline is not None and query.deadline <= time.monotonic():
            raise QueueDeadlineExceeded from failure
        if fallback.served is not None:
            prediction = await self._answered(endpoint, fallback.served, query, reason)
        elif fallback.decision is not None and endpoint.variants:
            prediction = self._decided(endpoint, fallback.decision, query, reason)
        elif isinstance(failure, ServiceError):
            raise failure
        else:
            description = "took longer than its budget, and its fallback is not loaded"
            raise ModelUnavailable(endpoint.name, description) from failure
        fallback.meter.answered(reason)
        return prediction

    def _decided(
        self,
        endpoint: ServedEndpoint,
        default: DefaultDecision,
        query: Query,
        reason: FallbackReason,
    ) -> Prediction:
        """What was declared, for rows that the stable version would take."""
        stable = endpoint.variants[-1]
        rows = query.tensors.rows(stable.signature, max_rows=self._max_rows)
        outputs = default.outputs(rows.count)
        stable.signature.check_outputs(query.outputs, DECISION_OUTPUTS)
        if missing := set(query.outputs) - outputs.keys() - DECISION_OUTPUTS:
            description = "is an output of the model, which is away"
            raise ModelUnavailable(f"{endpoint.name} {min(missing)}", description)
        scores, policy = outputs[PROBABILITIES][:, 1], default.decider(endpoint.name)
        decision = policy.decide(default.probability) if rows.count == 1 else None
        prediction_id = query.id or self._new_id()
        event_time_us = self._now_us() if query.event_time_us is None else query.event_time_us
        if endpoint.logs_observations and (told := stable.observed(prediction_id, rows)):
            self._log.append(
                Observation(
                    prediction_id,
                    event_time_us,
                    endpoint.name,
                    "",
                    *told,
                    scores,
                    policy.labels(scores),
                    policy.name,
                    reason,
                )
            )
        return Prediction(
            NO_VERSION,
            policy,
            prediction_id,
            event_time_us,
            _selected(query.outputs, outputs, policy, scores),
            decision,
            rows.out_of_range(stable.signature),
            reason,
        )

    async def _answered(
        self, endpoint: ServedEndpoint, served: ServedVariant, query: Query, fallback: str = ""
    ) -> Prediction:
        started = time.perf_counter()
        outcome = Outcome.FAILED
        try:
            prediction = await self._run(endpoint, served, query, fallback)
            outcome = Outcome.OK
        except ServiceError as error:
            outcome = _OUTCOMES.get(type(error), Outcome.FAILED)
            raise
        finally:
            took_s = time.perf_counter() - started
            for watch in self._watches:
                if watch.endpoint == endpoint.name:
                    failed = outcome is Outcome.FAILED
                    watch.note(served.variant.version, took_s, failed=failed)
            served.meter.answered(outcome, took_s, query.size_bytes)
        return prediction

    async def _run(
        self, endpoint: ServedEndpoint, served: ServedVariant, query: Query, fallback: str
    ) -> Prediction:
        started_s = time.perf_counter()
        signature, policy = served.signature, endpoint.policy
        if query.outputs:
            signature.check_outputs(query.outputs, DECISION_OUTPUTS)
        rows = query.tensors.rows(signature, max_rows=self._max_rows)
        try:
            outputs = await served.model.infer(rows, query.deadline)
        except (ModelUnavailable, ModelFailed):
            self._observe_failure(endpoint, served, query, rows)
            raise
        scores = outputs[PROBABILITIES][:, 1]
        decision = policy.decide(float(scores[0])) if rows.count == 1 else None
        prediction_id = query.id or self._new_id()
        event_time_us = self._now_us() if query.event_time_us is None else query.event_time_us
        if endpoint.logs_observations and (told := served.observed(prediction_id, rows)):
            self._log.append(
                Observation(
                    prediction_id,
                    event_time_us,
                    endpoint.name,
                    served.variant.version,
                    *told,
                    scores,
                    policy.labels(scores) if decision is None else _LABELS[decision.label],
                    policy.name,
                    fallback,
                    round((time.perf_counter() - started_s) * 1e6),
                )
            )
        if endpoint.shadow is not None and served is endpoint.variants[-1]:
            took_s = time.perf_counter() - started_s
            copy = Copy(prediction_id, event_time_us, query.tensors, scores, took_s)
            self._mirror.offer(endpoint.shadow, copy)
        if out_of_range := rows.out_of_range(signature):
            served.meter.out_of_range(out_of_range)
        return Prediction(
            served,
            policy,
            prediction_id,
            event_time_us,
            _selected(query.outputs, outputs, policy, scores),
            decision,
            out_of_range,
            fallback,
        )

    def _observe_failure(
        self, endpoint: ServedEndpoint, served: ServedVariant, query: Query, rows: Rows
    ) -> None:
        """Tell the monitor that a version could not answer; another one may."""
        prediction_id = query.id or self._new_id()
        told = served.observed(prediction_id, rows.first())
        if not endpoint.logs_observations or told is None:
            return
        event_time_us = self._now_us() if query.event_time_us is None else query.event_time_us
        self._log.append(
            Observation(
                # Whoever answers instead is observed under the request's own id.
                f"{prediction_id}/failed-{served.number}",
                event_time_us,
                endpoint.name,
                served.variant.version,
                *told,
                np.zeros(1, np.float32),
                np.zeros(1, np.int64),
                endpoint.policy.name,
                failed=True,
            )
        )


def _selected(
    names: tuple[str, ...],
    outputs: Tensors,
    policy: Decider,
    scores: NDArray[np.float32],
) -> Tensors:
    """The outputs named, the decision's tensors among them; all of the model's if none is."""
    if not names:
        return outputs
    if DECISION_OUTPUTS.isdisjoint(names):
        return {name: outputs[name] for name in names}
    decisions = [policy.decide(float(score)) for score in scores]
    made: Tensors = {
        DECISION_LABEL: np.array([str(each.label) for each in decisions], dtype=np.object_),
        DECISION_ACTION: np.array([each.action for each in decisions], dtype=np.object_),
        CONFIDENCE: np.array([each.confidence for each in decisions], dtype=np.float32),
    }
    return {name: outputs[name] if name in outputs else made[name] for name in names}
