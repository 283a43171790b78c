"""The client for programs with threads."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Self

import grpc
from roundhouse.client import policy
from roundhouse.client.addresses import SERVICES, Addresses, ServiceName
from roundhouse.client.errors import Unavailable, typed_errors
from roundhouse.client.interceptors import intercepted
from roundhouse.client.predictions import (
    InputColumn,
    Inputs,
    Prediction,
    PredictOptions,
    columns_of,
    prediction_of,
    request_of,
)
from roundhouse.client.transfers import Transfers
from roundhouse.common.v1.events_pb2 import Event, WatchEventsRequest
from roundhouse.common.v1.events_pb2_grpc import EventServiceStub
from roundhouse.inference.v1.batch_service_pb2_grpc import BatchServiceStub
from roundhouse.inference.v1.endpoint_service_pb2_grpc import EndpointServiceStub
from roundhouse.inference.v1.policy_service_pb2_grpc import PolicyServiceStub
from roundhouse.inference.v1.rollout_service_pb2_grpc import RolloutServiceStub
from roundhouse.monitor.v1.alert_service_pb2_grpc import AlertServiceStub
from roundhouse.monitor.v1.ingest_service_pb2 import IngestOutcomesRequest
from roundhouse.monitor.v1.ingest_service_pb2_grpc import IngestServiceStub
from roundhouse.monitor.v1.judgement_service_pb2_grpc import JudgementServiceStub
from roundhouse.monitor.v1.monitor_service_pb2_grpc import MonitorServiceStub
from roundhouse.monitor.v1.retrain_service_pb2_grpc import RetrainServiceStub
from roundhouse.monitor.v1.slo_service_pb2_grpc import SloServiceStub
from roundhouse.registry.v1.evaluation_service_pb2_grpc import EvaluationServiceStub
from roundhouse.registry.v1.lineage_service_pb2_grpc import LineageServiceStub
from roundhouse.registry.v1.retention_service_pb2_grpc import RetentionServiceStub
from roundhouse.registry.v1.webhook_service_pb2_grpc import WebhookServiceStub
from roundhouse.trainer.v1.cost_service_pb2_grpc import CostServiceStub
from roundhouse.trainer.v1.job_service_pb2_grpc import JobServiceStub
from roundhouse.trainer.v1.queue_service_pb2_grpc import QueueServiceStub
from tritonclient.grpc import service_pb2 as oip
from tritonclient.grpc import service_pb2_grpc as oip_grpc


class Client(Transfers):
    """Calls the four services. The stubs take and give the contracts' own messages.

    Every call has a deadline, carries a request id, is repeated while the service is away if that
    is safe, and fails with a `RoundhouseError`. Threads may share one client. A context manager.

    Attributes:
        datasets, models, evaluations, lineage, retention, webhooks: The registry.
        jobs, costs, queues: The trainer.
        endpoints, policies, rollouts, batches, oip: Inference; `oip` is the Open Inference
            Protocol.
        monitors, ingest, retraining, judgements, slos, alerts: The monitor.
    """

    def __init__(
        self, addresses: Addresses | None = None, *, timeouts: policy.Timeouts | None = None
    ) -> None:
        addresses = addresses or Addresses()
        timeouts = timeouts or policy.Timeouts()
        self._raw = {name: grpc.insecure_channel(addresses.of(name)) for name in SERVICES}
        channels = {name: intercepted(channel, timeouts) for name, channel in self._raw.items()}
        super().__init__(channels["registry"], timeouts)
        self._events = {name: EventServiceStub(channel) for name, channel in channels.items()}
        self._columns: dict[str, tuple[InputColumn, ...]] = {}
        self.evaluations = EvaluationServiceStub(channels["registry"])
        self.lineage = LineageServiceStub(channels["registry"])
        self.webhooks = WebhookServiceStub(channels["registry"])
        self.retention = RetentionServiceStub(channels["registry"])
        self.jobs = JobServiceStub(channels["trainer"])
        self.costs = CostServiceStub(channels["trainer"])
        self.queues = QueueServiceStub(channels["trainer"])
        self.endpoints = EndpointServiceStub(channels["inference"])
        self.policies = PolicyServiceStub(channels["inference"])
        self.batches = BatchServiceStub(channels["inference"])
        self.rollouts = RolloutServiceStub(channels["inference"])
        self.oip = oip_grpc.GRPCInferenceServiceStub(channels["inference"])
        self.monitors = MonitorServiceStub(channels["monitor"])
        self.ingest = IngestServiceStub(channels["monitor"])
        self.retraining = RetrainServiceStub(channels["monitor"])
        self.judgements = JudgementServiceStub(channels["monitor"])
        self.alerts = AlertServiceStub(channels["monitor"])
        self.slos = SloServiceStub(channels["monitor"])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Ends all channels; transfers and streams under way end with them."""
        self.end_transfers()
        for channel in self._raw.values():
            channel.close()

    def predict(
        self, endpoint: str, inputs: Inputs, options: PredictOptions | None = None
    ) -> Prediction:
        """What the endpoint says about one row, several rows, or columns of rows.

        Raises:
            InvalidInput: The values do not fit the endpoint's inputs, or it tells more than two
                classes.
        """
        if endpoint not in self._columns:
            metadata = self.oip.ModelMetadata(oip.ModelMetadataRequest(name=endpoint))
            self._columns[endpoint] = columns_of(metadata)
        columns = self._columns[endpoint]
        request = request_of(endpoint, columns, inputs, options or PredictOptions())
        return prediction_of(self.oip.ModelInfer(request))

    def watch_events(self, service: ServiceName, request: WatchEventsRequest) -> Iterator[Event]:
        """One service's events from `request.cursor` on, across its restarts, none lost or twice.

        Ends with the past unless `request.follow`. While the service is away it is asked again
        without end when following, and for `Timeouts.away_s` otherwise.
        """
        position = WatchEventsRequest()
        position.CopyFrom(request)
        waits = policy.reconnect_delays_s(request, self._timeouts)
        while True:
            try:
                for response in self._events[service].WatchEvents(position):
                    waits = policy.reconnect_delays_s(request, self._timeouts)
                    position.cursor = response.bookmark or response.event.cursor
                    if response.HasField("event"):
                        yield response.event
            except Unavailable:
                wait_s = next(waits, None)
                if wait_s is None:
                    raise
                time.sleep(wait_s)
            else:
                return

    def ingest_outcomes(self, batches: Iterable[IngestOutcomesRequest]) -> int:
        """Reports outcomes; gives the rows that are now durable. A batch may come again."""
        with typed_errors():
            stream = self.ingest.IngestOutcomes(iter(batches), timeout=self._timeouts.transfer_s)
            return sum(response.rows for response in stream)
