"""The data plane: route a request, run it, decide, keep the observation."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from services.common.errors import ServiceError
from services.inference.core.decisions import Decider
from services.inference.core.drills import AnswerWatch
from services.inference.core.errors import (
    EndpointNotFound,
    InvalidTensors,
    ModelFailed,
    ModelUnavailable,
    QueueDeadlineExceeded,
    QueueFull,
    VersionPinsForbidden,
)
from services.inference.core.fallbacks import DefaultDecision, FallbackReason
from services.inference.core.mirroring import Copy, Mirror
from services.inference.core.ports import (
    Observation,
    ObservationLog,
    Outcome,
)
from services.inference.core.predictions import Prediction, Query
from services.inference.core.routing import WHOLE_BP, bucket
from services.inference.core.rows import Rows, Tensors
from services.inference.core.served import NO_VERSION, ServedEndpoint, ServedFallback, ServedVariant
from services.inference.core.signature import PROBABILITIES

DECISION_LABEL = "decision_label"
DECISION_ACTION = "decision_action"
CONFIDENCE = "confidence"
DECISION_OUTPUTS = frozenset({DECISION_LABEL, DECISION_ACTION, CONFIDENCE})
_NOTHING: frozenset[str] = frozenset()

_LABELS = (np.zeros(1, dtype=np.int64), np.ones(1, dtype=np.int64))
"""Of one row, by its label; not to be written to."""

_OUTCOMES: dict[type[ServiceError], Outcome] = {
    InvalidTensors: Outcome.INVALID,
    QueueFull: Outcome.OVERLOADED,
    QueueDeadlineExceeded: Outcome.EXPIRED,
}


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
            VersionPinsForbidden: It pins a version, which the endpoint does not allow.
            InvalidTensors: The inputs do not fit the signature.
            QueueFull, QueueDeadlineExceeded, ModelUnavailable, ModelFailed: Not run.
        """
        if query.deadline is not None and query.deadline <= time.monotonic():
            raise QueueDeadlineExceeded
        endpoint = self.endpoint(query.model)
        if query.version:
            if endpoint.forbids_pins:
                raise VersionPinsForbidden(endpoint.name, query.version)
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
            made = DECISION_OUTPUTS if signature.has_two_classes else _NOTHING
            signature.check_outputs(query.outputs, made)
        rows = query.tensors.rows(signature, max_rows=self._max_rows)
        try:
            outputs = await served.model.infer(rows, query.deadline)
        except (ModelUnavailable, ModelFailed):
            self._observe_failure(endpoint, served, query, rows)
            raise
        if not signature.has_two_classes:
            return self._undecided(served, query, rows, outputs, fallback)
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

    def _undecided(
        self, served: ServedVariant, query: Query, rows: Rows, outputs: Tensors, fallback: str
    ) -> Prediction:
        """The answer of a model that has no score to decide by: nothing is observed of it."""
        if out_of_range := rows.out_of_range(served.signature):
            served.meter.out_of_range(out_of_range)
        return Prediction(
            served,
            None,
            query.id or self._new_id(),
            self._now_us() if query.event_time_us is None else query.event_time_us,
            {name: outputs[name] for name in query.outputs} if query.outputs else outputs,
            None,
            out_of_range,
            fallback,
        )

    def _observe_failure(
        self, endpoint: ServedEndpoint, served: ServedVariant, query: Query, rows: Rows
    ) -> None:
        """Tell the monitor that a version could not answer; another one may."""
        if not served.signature.has_two_classes:
            return
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
