"""Inference over gRPC, as the loop needs it."""

from __future__ import annotations

from typing import Final

import grpc
from roundhouse.inference.v1 import rollout_pb2 as rollout_pb
from roundhouse.inference.v1 import rollout_service_pb2 as service_pb
from roundhouse.inference.v1 import rollout_service_pb2_grpc as service_grpc

from services.common.rpc.remote import remote_errors
from services.common.rpc.tracing import step_of
from services.monitor.adapters.refusals import refusals
from services.monitor.core.loop.episodes import Episode
from services.monitor.core.loop.ports import Outcome, Progress
from services.monitor.core.names import EPISODE

_SHARES_BASIS_POINTS: Final = (500, 5_000, 10_000)
"""Of the new version in turn: a canary small enough to bear, half, all."""

_OUTCOMES: Final = {
    rollout_pb.Rollout.STATE_SUCCEEDED: Outcome.SUCCEEDED,
    rollout_pb.Rollout.STATE_ROLLED_BACK: Outcome.ROLLED_BACK,
    rollout_pb.Rollout.STATE_CANCELLED: Outcome.ROLLED_BACK,
    rollout_pb.Rollout.STATE_FAILED: Outcome.FAILED,
}


class InferenceClient:
    """Implements `InferencePort`.

    Args:
        channel: To inference.
    """

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._rollouts = service_grpc.RolloutServiceStub(channel)

    async def plan(self, episode: Episode) -> str:
        """See `InferencePort`."""
        request = service_pb.PlanRolloutRequest(phases=_phases(episode))
        with refusals("inference"), remote_errors("inference"):
            plan = await self._rollouts.PlanRollout(request)
        return plan.digest

    async def create_rollout(self, rollout_id: str, episode: Episode, request_id: str) -> str:
        """See `InferencePort`."""
        request = service_pb.CreateRolloutRequest(
            parent=episode.plan.endpoint,
            rollout_id=rollout_id,
            rollout=rollout_pb.Rollout(
                version=episode.candidate,
                approval=episode.approval,
                phases=_phases(episode),
                labels={"episode": episode.meta.uid},
            ),
            request_id=request_id,
        )
        # The look that found the approval was one poll of many, and so has no span.
        trace_id = EPISODE.id_of(episode.meta.name)
        with (
            step_of(trace_id, "monitor.episode roll out", recorded=True),
            refusals("inference"),
            remote_errors("inference"),
        ):
            rollout = await self._rollouts.CreateRollout(request)
        return rollout.name

    async def rollout(self, name: str) -> Progress:
        """See `InferencePort`."""
        with refusals("inference"), remote_errors("inference"):
            rollout = await self._rollouts.GetRollout(service_pb.GetRolloutRequest(name=name))
        return Progress(_OUTCOMES.get(rollout.state, Outcome.UNDER_WAY), rollout.message)


def _phases(episode: Episode) -> list[rollout_pb.Phase]:
    return [
        rollout_pb.Phase(weight_basis_points=share, min_outcomes=episode.plan.min_phase_outcomes)
        for share in _SHARES_BASIS_POINTS
    ]
