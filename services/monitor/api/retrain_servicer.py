"""`roundhouse.monitor.v1.RetrainService`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, TypeAlias

import grpc
from google.protobuf.empty_pb2 import Empty
from roundhouse.monitor.v1 import monitor_pb2 as pb
from roundhouse.monitor.v1 import retrain_service_pb2 as service_pb
from roundhouse.monitor.v1 import retrain_service_pb2_grpc as pb_grpc

from services.common.errors import FieldViolation, InvalidRequest
from services.common.money import Money
from services.common.resources import Page
from services.common.rpc.convert import from_timestamp
from services.common.rpc.inputs import check_settable, masked, page_query
from services.common.rpc.remote import RemoteError
from services.monitor.api.convert.dry_runs import dry_run_to_protos, order_of
from services.monitor.api.convert.retraining import (
    POLICY_FIELDS,
    decision_to_proto,
    episode_to_proto,
    event_to_proto,
    policy_maker,
    policy_to_proto,
)
from services.monitor.api.transactions import Transactions
from services.monitor.core.loop.episodes import Episode
from services.monitor.core.loop.ports import StepRefused
from services.monitor.core.names import TRAINING_JOB, checked
from services.monitor.core.ports import (
    JobCosts,
    MonitorLists,
    MonitorTx,
    SnapshotOrder,
    TrainingSnapshots,
)
from services.monitor.core.resources import RetrainDecision, RetrainEvent, RetrainPolicy
from services.monitor.core.use_cases import events, policies
from services.monitor.core.use_cases.dry_run import dry_run
from services.monitor.core.use_cases.lookup import the_episode, the_monitor, the_policy

_Context: TypeAlias = grpc.aio.ServicerContext[Any, Any]  # generic over every method's messages


class RetrainServicer(pb_grpc.RetrainServiceServicer):
    """Policies, decisions, episodes and training snapshots over gRPC.

    Args:
        transactions: The monitor's.
        snapshots: Writes training snapshots.
        costs: Of training jobs.
    """

    def __init__(
        self, transactions: Transactions, snapshots: TrainingSnapshots, costs: JobCosts
    ) -> None:
        self._transactions = transactions
        self._snapshots = snapshots
        self._costs = costs

    async def CreateRetrainPolicy(
        self, request: service_pb.CreateRetrainPolicyRequest, _: _Context
    ) -> pb.RetrainPolicy:
        """A new policy."""
        check_settable(request.retrain_policy, "retrain_policy", POLICY_FIELDS)
        name = f"{request.parent}/retrainPolicies/{request.retrain_policy_id}"
        return await self._transactions.mutate(
            request,
            pb.RetrainPolicy,
            lambda tx: policy_to_proto(
                policies.create_policy(tx, name, policy_maker(request.retrain_policy))
            ),
        )

    async def GetRetrainPolicy(
        self, request: service_pb.GetRetrainPolicyRequest, _: _Context
    ) -> pb.RetrainPolicy:
        """One policy."""
        return await self._transactions.read(
            lambda tx: policy_to_proto(the_policy(tx, request.name))
        )

    async def ListRetrainPolicies(
        self, request: service_pb.ListRetrainPoliciesRequest, _: _Context
    ) -> service_pb.ListRetrainPoliciesResponse:
        """A page of a monitor's policies."""
        query = page_query(request)

        def listed(tx: MonitorTx, lists: MonitorLists) -> Page[RetrainPolicy]:
            the_monitor(tx, request.parent, "parent")
            return lists.policies(query)

        page = await self._transactions.read_lists(listed)
        return service_pb.ListRetrainPoliciesResponse(
            retrain_policies=page.map(policy_to_proto), next_page_token=page.next_page_token
        )

    async def UpdateRetrainPolicy(
        self, request: service_pb.UpdateRetrainPolicyRequest, _: _Context
    ) -> pb.RetrainPolicy:
        """The policy, changed."""
        paths = masked(request.update_mask.paths, POLICY_FIELDS)
        picked = frozenset(attribute for path in paths for attribute in POLICY_FIELDS[path])
        wanted = request.retrain_policy
        return await self._transactions.mutate(
            request,
            pb.RetrainPolicy,
            lambda tx: policy_to_proto(
                policies.update_policy(
                    tx, wanted.name, policy_maker(wanted), picked, etag=wanted.etag
                )
            ),
        )

    async def DeleteRetrainPolicy(
        self, request: service_pb.DeleteRetrainPolicyRequest, _: _Context
    ) -> Empty:
        """Nothing, once the policy is forgotten."""

        def delete(tx: MonitorTx) -> Empty:
            policies.delete_policy(tx, request.name, etag=request.etag)
            return Empty()

        return await self._transactions.mutate(request, Empty, delete)

    async def ListRetrainDecisions(
        self, request: service_pb.ListRetrainDecisionsRequest, _: _Context
    ) -> service_pb.ListRetrainDecisionsResponse:
        """A page of a monitor's decisions, newest first."""
        query = page_query(request)

        def listed(tx: MonitorTx, lists: MonitorLists) -> Page[RetrainDecision]:
            the_monitor(tx, request.parent, "parent")
            return lists.decisions(query)

        page = await self._transactions.read_lists(listed)
        return service_pb.ListRetrainDecisionsResponse(
            retrain_decisions=page.map(decision_to_proto), next_page_token=page.next_page_token
        )

    async def DeclareRetrainEvent(
        self, request: service_pb.DeclareRetrainEventRequest, _: _Context
    ) -> pb.RetrainEvent:
        """The event, for the next windows that are judged."""
        moment = from_timestamp(request.event_time) if request.HasField("event_time") else None
        return await self._transactions.mutate(
            request,
            pb.RetrainEvent,
            lambda tx: event_to_proto(
                events.declare_event(
                    tx,
                    request.parent,
                    kind=request.kind,
                    description=request.description,
                    event_time=moment,
                )
            ),
        )

    async def ListRetrainEvents(
        self, request: service_pb.ListRetrainEventsRequest, _: _Context
    ) -> service_pb.ListRetrainEventsResponse:
        """A page of a monitor's events, newest first."""
        query = page_query(request)

        def listed(tx: MonitorTx, lists: MonitorLists) -> Page[RetrainEvent]:
            the_monitor(tx, request.parent, "parent")
            return lists.retrain_events(query)

        page = await self._transactions.read_lists(listed)
        return service_pb.ListRetrainEventsResponse(
            retrain_events=page.map(event_to_proto), next_page_token=page.next_page_token
        )

    async def GetEpisode(self, request: service_pb.GetEpisodeRequest, _: _Context) -> pb.Episode:
        """One episode."""
        return await self._transactions.read(
            lambda tx: episode_to_proto(the_episode(tx, request.name))
        )

    async def ListEpisodes(
        self, request: service_pb.ListEpisodesRequest, _: _Context
    ) -> service_pb.ListEpisodesResponse:
        """A page of a monitor's episodes, newest first."""
        query = page_query(request)

        def listed(tx: MonitorTx, lists: MonitorLists) -> Page[Episode]:
            the_monitor(tx, request.parent, "parent")
            return lists.episodes(query)

        page = await self._transactions.read_lists(listed)
        return service_pb.ListEpisodesResponse(
            episodes=page.map(episode_to_proto), next_page_token=page.next_page_token
        )

    async def DryRunRetraining(
        self, request: service_pb.DryRunRetrainingRequest, _: _Context
    ) -> AsyncIterator[service_pb.DryRunRetrainingResponse]:
        """What policies would have decided in a span of the past."""
        run = await self._transactions.read(lambda tx: dry_run(tx, order_of(request, tx.now)))
        unknown = set() if run.usual_cost else {run.templates[each.policy] for each in run.started}
        notes = []
        costs: dict[str, Money | None] = {}
        try:
            costs = {job: await self._costs.cost(job) for job in sorted(unknown)}
        except RemoteError as error:
            if run.weighs_costs:
                raise
            notes.append(f"What template jobs cost is left out: {error}")
        for told in dry_run_to_protos(run, costs, notes):
            yield told

    async def BuildTrainingSnapshot(
        self, request: service_pb.BuildTrainingSnapshotRequest, _: _Context
    ) -> service_pb.BuildTrainingSnapshotResponse:
        """The sealed snapshot; the work goes on where a broken off call left it."""
        order = await self._transactions.read(lambda tx: _order(tx, request))
        response_type = service_pb.BuildTrainingSnapshotResponse
        known = await self._transactions.answered(request, response_type)
        if known is not None:
            return known
        try:
            built = await self._snapshots.build(order)
        except StepRefused as refusal:
            raise InvalidRequest([FieldViolation("template_job", str(refusal))]) from refusal
        return await self._transactions.mutate(
            request, response_type, lambda _: response_type(snapshot=built.name, rows=built.rows)
        )


def _order(tx: MonitorTx, request: service_pb.BuildTrainingSnapshotRequest) -> SnapshotOrder:
    monitor = the_monitor(tx, request.monitor, "monitor")
    start = from_timestamp(request.start_time) if request.HasField("start_time") else None
    end = from_timestamp(request.end_time)
    if start is not None and start >= end:
        raise InvalidRequest([FieldViolation("end_time", "must be later than start_time")])
    return SnapshotOrder(
        monitor=monitor.meta.name,
        endpoint=monitor.endpoint,
        dataset=monitor.dataset,
        snapshot_id=request.snapshot_id,
        start=start,
        end=end,
        template_job=checked(TRAINING_JOB, request.template_job, "template_job"),
        include_template_snapshot=request.include_template_snapshot,
        request_id=request.request_id,
    )
