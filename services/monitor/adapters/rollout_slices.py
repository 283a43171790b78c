"""What the newest rollout of an endpoint found in slices, from inference."""

from __future__ import annotations

from typing import Final

import grpc
from roundhouse.common.v1 import verdicts_pb2 as verdicts_pb
from roundhouse.inference.v1 import rollout_service_pb2 as service_pb
from roundhouse.inference.v1 import rollout_service_pb2_grpc as service_grpc

from services.common.rpc.remote import remote_errors
from services.monitor.core.rollout_slices import RolloutSlices, SliceFinding

_ROLLOUTS: Final = 20
"""The newest ones, among which one with slices is looked for."""


class InferenceRolloutSlices:
    """Implements `SlicesOfRollouts`.

    Args:
        channel: To inference.
    """

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._rollouts = service_grpc.RolloutServiceStub(channel)

    async def newest(self, endpoint: str) -> RolloutSlices | None:
        """See `SlicesOfRollouts`."""
        request = service_pb.ListRolloutsRequest(parent=endpoint, page_size=_ROLLOUTS)
        with remote_errors("inference"):
            page = await self._rollouts.ListRollouts(request)
        for rollout in page.rollouts:
            findings = [
                _finding(outcome.phase, found)
                for outcome in rollout.outcomes
                for found in outcome.findings
                if found.slice_feature
            ]
            if findings:
                return RolloutSlices(
                    rollout.name, rollout.version, rollout.previous_version, tuple(findings)
                )
        return None


def _finding(phase: int, found: verdicts_pb.Finding) -> SliceFinding:
    return SliceFinding(
        phase=phase,
        feature=found.slice_feature,
        value=found.slice_value,
        measure=verdicts_pb.Measure.Name(found.measure).removeprefix("MEASURE_"),
        rows=found.candidate_n,
        effect=found.effect,
        tolerance=found.tolerance,
        verdict=verdicts_pb.EvidenceVerdict.Name(found.verdict).removeprefix("EVIDENCE_VERDICT_"),
        reason=found.reason,
    )
