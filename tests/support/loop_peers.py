"""The loop's four peers in one: idempotent by request id, answering as the test scripts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import grpc

from services.common.clock import utc_now
from services.common.rpc.remote import RemoteError
from services.monitor.core.loop.episodes import Episode
from services.monitor.core.loop.ports import (
    GateVerdict,
    JobProgress,
    Outcome,
    Progress,
    StepRefused,
)
from services.monitor.core.loop.steps import Loop


@dataclass
class ScriptedPeers:
    """What each peer ends up saying, after so many polls.

    Attributes:
        polls: Times that each long thing is still under way.
        job_waits_for: What the training job says while it is under way.
        lost: For each call in turn, whether its answer is lost after the peer has acted.
    """

    rows: bool = True
    job: Outcome = Outcome.SUCCEEDED
    gate_passes: bool = True
    approval_: Outcome = Outcome.SUCCEEDED
    rollout_: Outcome = Outcome.SUCCEEDED
    polls: int = 1
    job_waits_for: str = ""
    lost: Iterator[bool] = field(default_factory=lambda: iter(()))
    made: dict[str, dict[str, str]] = field(default_factory=dict)
    seen: dict[str, int] = field(default_factory=dict)

    def loop(self) -> Loop:
        """The loop over these peers."""
        return Loop(
            snapshots=_Snapshots(self),
            registry=_Registry(self),
            trainer=_Trainer(self),
            inference=_Inference(self),
            now=utc_now,
        )

    def make(self, kind: str, request_id: str) -> str:
        """The thing made for a request id, the same again for the same one."""
        made = self.made.setdefault(kind, {})
        name = made.setdefault(request_id, f"{kind}/{len(made) + 1}")
        self.answer()
        return name

    def answer(self) -> None:
        """Lose the answer if the script says so."""
        if next(self.lost, False):
            raise RemoteError("peer", grpc.StatusCode.UNAVAILABLE)

    def progress(self, kind: str, end: Outcome) -> Outcome:
        """UNDER_WAY for the first polls."""
        self.answer()
        self.seen[kind] = self.seen.get(kind, 0) + 1
        return Outcome.UNDER_WAY if self.seen[kind] <= self.polls else end


@dataclass
class _Snapshots:
    peers: ScriptedPeers

    async def build(self, episode: Episode) -> str:
        if not self.peers.rows:
            raise StepRefused("No rows.")
        return self.peers.make("snapshot", episode.request_id("snapshot"))


@dataclass
class _Registry:
    peers: ScriptedPeers

    async def evaluate_gate(self, evaluation: str, baseline: str, request_id: str) -> GateVerdict:
        name = self.peers.make("gate", request_id)
        return GateVerdict(name, self.peers.gate_passes, "By its numbers.")

    async def request_approval(
        self, version: str, gate_result: str, *, plan_digest: str, requester: str, request_id: str
    ) -> str:
        return self.peers.make("approval", request_id)

    async def approval(self, name: str) -> Progress:
        return Progress(self.peers.progress("approval", self.peers.approval_), "Decided.")


@dataclass
class _Trainer:
    peers: ScriptedPeers

    async def submit(self, job_id: str, episode: Episode, request_id: str) -> str:
        return self.peers.make("job", request_id)

    async def job(self, name: str) -> JobProgress:
        outcome = self.peers.progress("job", self.peers.job)
        if outcome is Outcome.UNDER_WAY:
            return JobProgress(outcome, message=self.peers.job_waits_for)
        return JobProgress(outcome, "version/2", "evaluation/2", "It broke.")

    async def evaluate(self, version: str, job: str, request_id: str) -> str:
        return self.peers.make("evaluation", request_id)


@dataclass
class _Inference:
    peers: ScriptedPeers

    async def plan(self, episode: Episode) -> str:
        self.peers.answer()
        return f"plan of {episode.plan.endpoint}"

    async def create_rollout(self, rollout_id: str, episode: Episode, request_id: str) -> str:
        return self.peers.make("rollout", request_id)

    async def rollout(self, name: str) -> Progress:
        return Progress(self.peers.progress("rollout", self.peers.rollout_), "Over.")
