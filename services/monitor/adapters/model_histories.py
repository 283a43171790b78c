"""Which versions served, from inference, and what they scored before, from the registry."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final

import grpc
from roundhouse.inference.v1 import endpoint_pb2 as endpoint_pb
from roundhouse.inference.v1 import endpoint_service_pb2 as endpoint_service_pb
from roundhouse.inference.v1 import endpoint_service_pb2_grpc as endpoint_grpc
from roundhouse.inference.v1 import rollout_pb2 as rollout_pb
from roundhouse.inference.v1 import rollout_service_pb2 as rollout_service_pb
from roundhouse.inference.v1 import rollout_service_pb2_grpc as rollout_grpc
from roundhouse.registry.v1 import evaluation_service_pb2 as evaluation_pb
from roundhouse.registry.v1 import evaluation_service_pb2_grpc as evaluation_grpc
from roundhouse.registry.v1 import model_service_pb2 as model_pb
from roundhouse.registry.v1 import model_service_pb2_grpc as model_grpc

from services.common.rpc.convert import from_timestamp
from services.common.rpc.remote import remote_errors
from services.monitor.core.families import HeldOutScore, Histories, Service, model_of
from services.monitor.core.quality import Z_95

MODELS: Final = 40
"""Most models that are told of, the first by name."""

ENDPOINTS: Final = 200
ROLLOUTS: Final = 50
"""Of one endpoint, the newest."""

_PAGE_SIZE: Final = 1000


class PeerModelHistories:
    """Implements `ModelHistories`; remembers tests, since a version's first one never changes.

    Args:
        registry: Channel to the registry.
        inference: Channel to inference.
    """

    def __init__(self, registry: grpc.aio.Channel, inference: grpc.aio.Channel) -> None:
        self._models = model_grpc.ModelServiceStub(registry)
        self._evaluations = evaluation_grpc.EvaluationServiceStub(registry)
        self._endpoints = endpoint_grpc.EndpointServiceStub(inference)
        self._rollouts = rollout_grpc.RolloutServiceStub(inference)
        self._tests: dict[str, HeldOutScore] = {}

    async def of(self, project: str) -> Histories:
        """See `ModelHistories`."""
        with remote_errors("registry"):
            models = await self._names(project)
        shown = models[:MODELS]
        with remote_errors("inference"):
            services = [
                each for each in await self._services(project) if model_of(each.version) in shown
            ]
        tests = {}
        for version in {each.version for each in services}:
            test = await self.test_of(version)
            if test is not None:
                tests[version] = test
        return Histories(shown, services, tests, len(models) - len(shown))

    async def _names(self, project: str) -> Sequence[str]:
        request = model_pb.ListModelsRequest(parent=project, page_size=_PAGE_SIZE, order_by="name")
        page = await self._models.ListModels(request)
        return [model.name for model in page.models]

    async def _services(self, project: str) -> Sequence[Service]:
        request = endpoint_service_pb.ListEndpointsRequest(parent=project, page_size=ENDPOINTS)
        page = await self._endpoints.ListEndpoints(request)
        found = [each for endpoint in page.endpoints for each in await self._at(endpoint)]
        return sorted(found, key=lambda each: each.since)

    async def _at(self, endpoint: endpoint_pb.Endpoint) -> Sequence[Service]:
        """The version that the endpoint began with, and those that won all of its traffic."""
        request = rollout_service_pb.ListRolloutsRequest(
            parent=endpoint.name, filter="state = SUCCEEDED", page_size=ROLLOUTS
        )
        page = await self._rollouts.ListRollouts(request)
        began = from_timestamp(endpoint.create_time)
        first = [Service(endpoint.initial_version, endpoint.name, began)]
        return [
            *(first if endpoint.initial_version else []),
            *(Service(each.version, endpoint.name, _won_at(each)) for each in page.rollouts),
        ]

    async def test_of(self, version: str) -> HeldOutScore | None:
        """See `ModelHistories`: its oldest test; the baseline of a candidate is none."""
        if version not in self._tests:
            request = evaluation_pb.ListEvaluationsRequest(
                parent=version, filter="purpose = TEST", page_size=_PAGE_SIZE
            )
            with remote_errors("registry"):
                page = await self._evaluations.ListEvaluations(request)
            if not page.evaluations:
                return None
            oldest = page.evaluations[-1]
            self._tests[version] = HeldOutScore(
                oldest.name,
                dict(oldest.metrics),
                {metric: Z_95 * error for metric, error in oldest.standard_errors.items()},
                {(each.column, each.value): dict(each.metrics) for each in oldest.slices},
            )
        return self._tests[version]


def _won_at(rollout: rollout_pb.Rollout) -> datetime:
    """When its last phase ended: what undid it later has changed `update_time`."""
    ends = [each.end_time for each in rollout.outcomes if each.HasField("end_time")]
    return from_timestamp(ends[-1] if ends else rollout.update_time)
