"""Follows what the services decide, and stands in for the person on call."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from roundhouse.cli.views.rollouts import phase_name
from roundhouse.client import AsyncClient, RoundhouseError
from roundhouse.demo import resources
from roundhouse.demo.clock import FastClock
from roundhouse.inference.v1.rollout_pb2 import PhaseOutcome, Rollout
from roundhouse.inference.v1.rollout_service_pb2 import ListRolloutsRequest
from roundhouse.monitor.v1.monitor_pb2 import Episode, RetrainDecision
from roundhouse.monitor.v1.retrain_service_pb2 import (
    ListEpisodesRequest,
    ListRetrainDecisionsRequest,
)
from roundhouse.registry.v1.evaluation_pb2 import Approval
from roundhouse.registry.v1.evaluation_service_pb2 import (
    DecideApprovalRequest,
    GetGateResultRequest,
    ListApprovalsRequest,
)

POLL_S: Final = 0.5
"""How often a person would look; the services themselves don't wait for it."""

_TRAINING: Final = frozenset(
    {
        Episode.STATE_DETECTED,
        Episode.STATE_SNAPSHOT_BUILT,
        Episode.STATE_TRAINING,
        Episode.STATE_EVALUATING,
        Episode.STATE_GATED,
        Episode.STATE_AWAITING_APPROVAL,
    }
)
ENDED: Final = frozenset(
    {
        Episode.STATE_PROMOTED,
        Episode.STATE_ROLLED_BACK,
        Episode.STATE_REJECTED,
        Episode.STATE_FAILED,
    }
)


@dataclass
class Follower:
    """Polls decisions, episodes and rollouts; approves what passed its gate.

    Attributes:
        client: To the services.
        clock: Told when a model is being trained.
        say: Told of every change, in a sentence.
        decisions: All so far, oldest first.
        episodes: All so far, oldest first.
        rollouts: All so far, oldest first.
    """

    client: AsyncClient
    clock: FastClock
    say: Callable[[str], None]
    decisions: list[RetrainDecision] = field(default_factory=list)
    episodes: list[Episode] = field(default_factory=list)
    rollouts: list[Rollout] = field(default_factory=list)
    _told: set[str] = field(default_factory=set)

    async def run(self) -> None:
        """Follow until cancelled; a service that is away is asked again."""
        while True:
            try:
                await self.look()
            except RoundhouseError as error:
                self._tell(f"A service does not answer: {error}")
            await asyncio.sleep(POLL_S)

    async def look(self) -> None:
        """See what has changed, and approve what waits for it."""
        decided = await self.client.retraining.ListRetrainDecisions(
            ListRetrainDecisionsRequest(parent=resources.MONITOR, page_size=1000)
        )
        self.decisions = list(reversed(decided.retrain_decisions))
        begun = await self.client.retraining.ListEpisodes(
            ListEpisodesRequest(parent=resources.MONITOR, page_size=1000)
        )
        self.episodes = list(reversed(begun.episodes))
        rolled = await self.client.rollouts.ListRollouts(
            ListRolloutsRequest(parent=resources.ENDPOINT, page_size=1000)
        )
        self.rollouts = list(reversed(rolled.rollouts))
        self.clock.is_training = any(each.state in _TRAINING for each in self.episodes)
        self._tell_changes()
        if any(each.state == Episode.STATE_AWAITING_APPROVAL for each in self.episodes):
            await self._approve()

    @property
    def is_quiet(self) -> bool:
        """Whether no episode is under way."""
        return all(each.state in ENDED for each in self.episodes)

    async def _approve(self) -> None:
        waiting = await self.client.evaluations.ListApprovals(
            ListApprovalsRequest(parent=f"{resources.MODEL}/versions/-", filter="state = PENDING")
        )
        for approval in waiting.approvals:
            gate = await self.client.evaluations.GetGateResult(
                GetGateResultRequest(name=approval.gate_result)
            )
            numbers = " ".join(verdict.explanation for verdict in gate.verdicts)
            await self._decide(approval, numbers)

    async def _decide(self, approval: Approval, numbers: str) -> None:
        await self.client.evaluations.DecideApproval(
            DecideApprovalRequest(
                name=approval.name,
                decision=DecideApprovalRequest.DECISION_APPROVE,
                approver=resources.ON_CALL,
                comment=f"The gate passed: {numbers}"[:4000],
            )
        )
        self._tell(f"{resources.ON_CALL} approves {_short(approval.name)}.")

    def _tell_changes(self) -> None:
        refused: set[str] = set()
        for decision in self.decisions:
            kind = RetrainDecision.Kind.Name(decision.kind).removeprefix("KIND_")
            if decision.kind == RetrainDecision.KIND_TRIGGERED:
                refused.clear()
            elif decision.reason in refused:
                continue  # The report has each; a person wants to hear a reason once.
            refused.add(decision.reason)
            day = f"{decision.event_time.ToDatetime():%d %b}"
            self._tell(f"{day}: {kind} ({decision.reason}). {decision.explanation}")
        for episode in self.episodes:
            state = Episode.State.Name(episode.state).removeprefix("STATE_")
            self._tell(f"Episode {_short(episode.name)[:17]} is {state}. {episode.message}")
        for rollout in self.rollouts:
            for outcome in rollout.outcomes:
                phase = phase_name(rollout.phases[outcome.phase])
                verdict = verdict_name(outcome.verdict)
                self._tell(f"{_short(rollout.version)} at {phase}: {verdict} {outcome.reason}")

    def _tell(self, sentence: str) -> None:
        if sentence not in self._told:
            self._told.add(sentence)
            self.say(sentence.strip())


def verdict_name(verdict: PhaseOutcome.Verdict.ValueType) -> str:
    """`PASS`, `FAIL`, `INCONCLUSIVE`, or `under way`."""
    if verdict == PhaseOutcome.VERDICT_UNSPECIFIED:
        return "under way"
    return PhaseOutcome.Verdict.Name(verdict).removeprefix("VERDICT_")


def _short(name: str) -> str:
    return "/".join(name.split("/")[-2:])
