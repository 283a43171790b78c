"""Drives an episode one step: asks the other services, and says what the answer makes of it.

Every call carries a request id derived from the episode and the step, so that a
controller which died between the call and the write repeats the call harmlessly.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, assert_never

from services.common.causality import caused_by
from services.common.clock import Clock
from services.common.money import Money
from services.monitor.core.loop.episodes import Episode, EpisodeState
from services.monitor.core.loop.ports import (
    InferencePort,
    Outcome,
    RegistryPort,
    SnapshotBuilder,
    StepRefused,
    TrainerPort,
)

REQUESTER: Final = "roundhouse-monitor"
"""Who asks for approvals in the loop; so nobody of that name can give one."""


@dataclass(frozen=True, slots=True)
class Loop:
    """The steps of an episode.

    Attributes:
        snapshots: Builds what is trained on.
        registry: Judges and approves.
        trainer: Trains and scores.
        inference: Rolls out.
        now: The clock.
    """

    snapshots: SnapshotBuilder
    registry: RegistryPort
    trainer: TrainerPort
    inference: InferencePort
    now: Clock

    async def advanced(self, episode: Episode) -> Episode:
        """The episode after its next step, or as it is while another service is at work."""
        with caused_by(episode.meta.uid, episode.last_event):
            try:
                return await self._step(episode)
            except StepRefused as refusal:
                return episode.moved_to(EpisodeState.FAILED, self.now(), message=str(refusal))

    async def _step(self, episode: Episode) -> Episode:
        match episode.state:
            case EpisodeState.DETECTED:
                snapshot = await self.snapshots.build(episode)
                return self._moved(episode, EpisodeState.SNAPSHOT_BUILT, snapshot=snapshot)
            case EpisodeState.SNAPSHOT_BUILT:
                job = await self.trainer.submit(
                    f"retrain-{episode.meta.uid[:8]}", episode, episode.request_id("train")
                )
                return self._moved(episode, EpisodeState.TRAINING, training_job=job)
            case EpisodeState.TRAINING:
                return await self._after_training(episode)
            case EpisodeState.EVALUATING:
                return await self._after_gate(episode)
            case EpisodeState.GATED:
                approval = await self.registry.request_approval(
                    episode.candidate,
                    episode.gate_result,
                    plan_digest=await self.inference.plan(episode),
                    requester=REQUESTER,
                    request_id=episode.request_id("approve"),
                )
                return self._moved(episode, EpisodeState.AWAITING_APPROVAL, approval=approval)
            case EpisodeState.AWAITING_APPROVAL:
                return await self._after_approval(episode)
            case EpisodeState.ROLLING_OUT:
                return await self._after_rollout(episode)
            case (
                EpisodeState.PROMOTED
                | EpisodeState.ROLLED_BACK
                | EpisodeState.REJECTED
                | EpisodeState.FAILED
            ):
                return episode
            case _:
                assert_never(episode.state)

    async def _after_training(self, episode: Episode) -> Episode:
        job = await self.trainer.job(episode.training_job)
        match job.outcome:
            case Outcome.SUCCEEDED:
                return self._moved(
                    episode,
                    EpisodeState.EVALUATING,
                    candidate=job.version,
                    evaluation=job.evaluation,
                    message="",
                    cost=job.cost,
                )
            case Outcome.FAILED:
                return self._moved(episode, EpisodeState.FAILED, message=job.message, cost=job.cost)
            case _ if job.message != episode.message:
                return episode.waiting(job.message, self.now())
            case _:
                return episode

    async def _after_gate(self, episode: Episode) -> Episode:
        baseline = await self.trainer.evaluate(
            episode.champion, episode.training_job, episode.request_id("evaluate-champion")
        )
        verdict = await self.registry.evaluate_gate(
            episode.evaluation, baseline, episode.request_id("gate")
        )
        return self._moved(
            episode,
            EpisodeState.GATED if verdict.passed else EpisodeState.REJECTED,
            gate_result=verdict.gate_result,
            message=verdict.explanation,
        )

    async def _after_approval(self, episode: Episode) -> Episode:
        approval = await self.registry.approval(episode.approval)
        match approval.outcome:
            case Outcome.SUCCEEDED:
                rollout = await self.inference.create_rollout(
                    f"rollout-{episode.meta.uid[:8]}", episode, episode.request_id("roll-out")
                )
                return self._moved(episode, EpisodeState.ROLLING_OUT, rollout=rollout)
            case Outcome.REFUSED:
                return self._moved(episode, EpisodeState.REJECTED, message=approval.message)
            case _:
                return episode

    async def _after_rollout(self, episode: Episode) -> Episode:
        rollout = await self.inference.rollout(episode.rollout)
        ends = {
            Outcome.SUCCEEDED: EpisodeState.PROMOTED,
            Outcome.ROLLED_BACK: EpisodeState.ROLLED_BACK,
            Outcome.FAILED: EpisodeState.FAILED,
        }
        if rollout.outcome not in ends:
            return episode
        return self._moved(episode, ends[rollout.outcome], message=rollout.message)

    def _moved(self, episode: Episode, state: EpisodeState, **facts: str | Money | None) -> Episode:
        return episode.moved_to(state, self.now(), **facts)
