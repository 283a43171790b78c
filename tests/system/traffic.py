"""Live traffic by stock Triton clients, unmodified, with the outcome of each flight after it."""

from __future__ import annotations

import asyncio
import threading
import time
import uuid
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
from roundhouse.monitor.v1 import ingest_service_pb2 as ingest_pb
from tritonclient.grpc import InferenceServerClient, InferInput
from tritonclient.utils import InferenceServerException

from tests.system.clients import Clients, all_answered
from tests.system.world import Flight

_CALLERS = 3
_CALL_S = 5.0
_OUTCOMES_EVERY_S = 0.2


@dataclass(frozen=True, slots=True)
class Prediction:
    """One acknowledged prediction."""

    id: str
    version: str
    flight: Flight


@dataclass
class Log:
    """What the traffic has seen so far; written by the callers under a lock.

    Attributes:
        predictions: Every acknowledged one.
        failures: Messages of calls that failed; each flight is then asked again under a new id.
        event_us: Event time of the newest flight.
        changed_s: `time.monotonic()` at the first flight of the changed world.
        first_answer_s: The same at the first answer of each version.
    """

    predictions: list[Prediction] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    event_us: int = 0
    changed_s: float | None = None
    first_answer_s: dict[str, float] = field(default_factory=dict)

    def answers_by_version(self) -> Counter[str]:
        """How many predictions each version gave."""
        return Counter(prediction.version for prediction in self.predictions)


class Traffic:
    """Replays flights against one endpoint, in their order, as fast as `rate_per_s` allows.

    Args:
        address: Of the inference service.
        endpoint: Id of the endpoint.
        flights: In the order of time.
    """

    def __init__(self, address: str, endpoint: str, flights: Sequence[Flight]) -> None:
        self.log = Log()
        self.rate_per_s = 1000.0
        self._address = address
        self._endpoint = endpoint
        self._flights = iter(flights)
        self._lock = threading.Lock()
        self._turn = threading.Lock()
        self._due_s = 0.0
        self._stopping = threading.Event()
        self._reported = 0
        self._batch: ingest_pb.IngestOutcomesRequest | None = None
        self._callers = [threading.Thread(target=self._call, daemon=True) for _ in range(_CALLERS)]

    def start(self) -> None:
        """Begin."""
        for caller in self._callers:
            caller.start()

    @property
    def is_over(self) -> bool:
        """Whether all flights have been answered."""
        return not any(caller.is_alive() for caller in self._callers)

    @property
    def has_unreported_outcomes(self) -> bool:
        """Whether the monitor has not acknowledged every outcome yet."""
        return self._reported < len(self.log.predictions)

    async def stop(self) -> None:
        """Finish the calls under way."""
        self._stopping.set()
        for caller in self._callers:
            await asyncio.to_thread(caller.join)

    async def report_outcomes(self, clients: Clients) -> None:
        """Tell the monitor what came true, until cancelled."""
        while True:
            await self.report_known_outcomes(clients)
            await asyncio.sleep(_OUTCOMES_EVERY_S)

    async def report_known_outcomes(self, clients: Clients) -> None:
        """Tell the monitor what came true of everything predicted so far.

        A batch that was cut off is sent again under its id before any other.
        """
        known = self.log.predictions[self._reported :]
        if self._batch is None and known:
            self._batch = ingest_pb.IngestOutcomesRequest(
                batch_id=str(uuid.uuid4()), arrow_stream=outcomes_of(known)
            )
        batch = self._batch
        if batch is None:
            return
        (acknowledged,) = await all_answered(clients.ingest.IngestOutcomes, lambda: iter([batch]))
        self._batch = None
        self._reported += acknowledged.rows

    def _call(self) -> None:
        with InferenceServerClient(self._address) as client:
            while not self._stopping.is_set():
                flight = self._next()
                if flight is None:
                    return
                while not self._predicted(client, flight) and not self._stopping.is_set():
                    self._stopping.wait(0.1)

    def _next(self) -> Flight | None:
        with self._turn:
            wait_s = self._due_s - time.monotonic()
            if wait_s > 0:
                self._stopping.wait(wait_s)
            self._due_s = max(self._due_s, time.monotonic()) + 1.0 / self.rate_per_s
            flight = next(self._flights, None)
            self.log.event_us = flight.event_us if flight else self.log.event_us
            if flight and flight.has_changed and self.log.changed_s is None:
                self.log.changed_s = time.monotonic()
            return flight

    def _predicted(self, client: InferenceServerClient, flight: Flight) -> bool:
        try:
            answer = client.infer(
                self._endpoint,
                [_tensor(name, value) for name, value in flight.inputs.items()],
                request_id=f"{flight.key}-{uuid.uuid4().hex[:8]}",
                client_timeout=_CALL_S,
                parameters={"event_time": flight.event_us, "sticky_key": flight.key},
            ).get_response()
        except InferenceServerException as error:
            with self._lock:
                self.log.failures.append(str(error))
            return False
        facts = answer.parameters
        version = facts["variant"].string_param
        prediction = Prediction(f"{facts['prediction_id'].string_param}:0", version, flight)
        with self._lock:
            self.log.predictions.append(prediction)
            self.log.first_answer_s.setdefault(version, time.monotonic())
        return True


def _tensor(name: str, value: np.ndarray) -> InferInput:
    datatype = "BYTES" if value.dtype == np.object_ else "FP32"
    tensor = InferInput(name, list(value.shape), datatype)
    tensor.set_data_from_numpy(value)
    return tensor


def outcomes_of(predictions: Sequence[Prediction]) -> bytes:
    """What came true of these predictions, as an Arrow stream."""
    batch = pa.record_batch(
        {
            "prediction_id": pa.array([prediction.id for prediction in predictions], pa.string()),
            "outcome": pa.array(
                [prediction.flight.outcome for prediction in predictions], pa.int64()
            ),
            "event_time": pa.array(
                [prediction.flight.outcome_us for prediction in predictions],
                pa.timestamp("us", "UTC"),
            ),
        }
    )
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return sink.getvalue().to_pybytes()
