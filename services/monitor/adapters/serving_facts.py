"""What the other services know about how a version came to serve."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

import grpc
from roundhouse.inference.v1 import endpoint_service_pb2 as endpoint_pb
from roundhouse.inference.v1 import endpoint_service_pb2_grpc as endpoint_grpc
from roundhouse.inference.v1 import rollout_pb2 as rollout_pb
from roundhouse.inference.v1 import rollout_service_pb2 as rollout_service_pb
from roundhouse.inference.v1 import rollout_service_pb2_grpc as rollout_grpc
from roundhouse.registry.v1 import dataset_pb2 as dataset_pb
from roundhouse.registry.v1 import dataset_service_pb2 as dataset_service_pb
from roundhouse.registry.v1 import dataset_service_pb2_grpc as dataset_grpc
from roundhouse.registry.v1 import evaluation_pb2 as evaluation_pb
from roundhouse.registry.v1 import evaluation_service_pb2 as evaluation_service_pb
from roundhouse.registry.v1 import evaluation_service_pb2_grpc as evaluation_grpc
from roundhouse.registry.v1 import model_service_pb2 as model_service_pb
from roundhouse.registry.v1 import model_service_pb2_grpc as model_grpc
from roundhouse.trainer.v1 import job_pb2 as job_pb
from roundhouse.trainer.v1 import job_service_pb2 as job_service_pb
from roundhouse.trainer.v1 import job_service_pb2_grpc as job_grpc

from services.common.names import id_of, parent_of
from services.common.rpc.convert import from_timestamp
from services.common.rpc.remote import remote_errors
from services.monitor.core.explanation import CauseKind, Fact, FactSource, Link


class InferenceFacts:
    """Endpoints and rollouts.

    Args:
        channel: To inference.
    """

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._endpoints = endpoint_grpc.EndpointServiceStub(channel)
        self._rollouts = rollout_grpc.RolloutServiceStub(channel)

    async def endpoint(self, name: str) -> Fact:
        """What serves there, and what brought it into service."""
        with remote_errors("inference"):
            endpoint = await self._endpoints.GetEndpoint(endpoint_pb.GetEndpointRequest(name=name))
            rollouts = await self._rollouts.ListRollouts(
                rollout_service_pb.ListRolloutsRequest(
                    parent=name, filter="state = SUCCEEDED", page_size=1
                )
            )
        serving = max(endpoint.variants, key=lambda variant: variant.weight_basis_points)
        share = serving.weight_basis_points / 100
        summary = f"{serving.version} serves {share:g} % of the traffic."
        newest = next(iter(rollouts.rollouts), None)
        if newest is not None and newest.version == serving.version:
            causes = [Link(CauseKind.ROLLOUT, newest.name)]
        else:
            causes = [
                Link(CauseKind.APPROVAL, endpoint.initial_approval),
                Link(CauseKind.VERSION, endpoint.initial_version),
            ]
        return Fact(summary, from_timestamp(endpoint.update_time), _named(*causes))

    async def rollout(self, name: str) -> Fact:
        """How it went, phase by phase."""
        with remote_errors("inference"):
            rollout = await self._rollouts.GetRollout(
                rollout_service_pb.GetRolloutRequest(name=name)
            )
        phases = ", ".join(
            f"{_what(rollout.phases[outcome.phase])} "
            + rollout_pb.PhaseOutcome.Verdict.Name(outcome.verdict).removeprefix("VERDICT_")
            for outcome in rollout.outcomes
        )
        state = rollout_pb.Rollout.State.Name(rollout.state).removeprefix("STATE_")
        return Fact(
            f"{state} after {phases or 'no phase'}. {rollout.message}".strip(),
            from_timestamp(rollout.update_time),
            _named(
                Link(CauseKind.APPROVAL, rollout.approval), Link(CauseKind.VERSION, rollout.version)
            ),
        )


def _what(phase: rollout_pb.Phase) -> str:
    """`shadow`, `dark`, or the share of the traffic."""
    if phase.weight_basis_points:
        return f"{phase.weight_basis_points / 100:g} %"
    return rollout_pb.Phase.Kind.Name(phase.kind).removeprefix("KIND_").lower()


class RegistryFacts:
    """Approvals, gate results, evaluations, versions and snapshots.

    Args:
        channel: To the registry.
    """

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._evaluations = evaluation_grpc.EvaluationServiceStub(channel)
        self._models = model_grpc.ModelServiceStub(channel)
        self._datasets = dataset_grpc.DatasetServiceStub(channel)

    async def approval(self, name: str) -> Fact:
        """Who decided, and why."""
        with remote_errors("registry"):
            approval = await self._evaluations.GetApproval(
                evaluation_service_pb.GetApprovalRequest(name=name)
            )
        state = evaluation_pb.Approval.State.Name(approval.state).removeprefix("STATE_")
        return Fact(
            f"{state} by {approval.approver or 'nobody yet'}, asked for by {approval.requester}. "
            f"{approval.comment}".strip(),
            from_timestamp(approval.update_time),
            _named(Link(CauseKind.GATE_RESULT, approval.gate_result)),
        )

    async def gate_result(self, name: str) -> Fact:
        """What each rule said."""
        with remote_errors("registry"):
            result = await self._evaluations.GetGateResult(
                evaluation_service_pb.GetGateResultRequest(name=name)
            )
        verdict = "The gate passed." if result.passed else "The gate did not pass."
        rules = " ".join(rule.explanation for rule in result.verdicts)
        return Fact(
            f"{verdict} {rules}".strip(),
            from_timestamp(result.create_time),
            _named(
                Link(CauseKind.EVALUATION, result.evaluation),
                Link(CauseKind.EVALUATION, result.baseline_evaluation),
            ),
        )

    async def evaluation(self, name: str) -> Fact:
        """The scores."""
        with remote_errors("registry"):
            evaluation = await self._evaluations.GetEvaluation(
                evaluation_service_pb.GetEvaluationRequest(name=name)
            )
        version = id_of(parent_of(name))
        return Fact(
            f"Version {version} on {evaluation.rows:,} rows ({evaluation.split}): "
            f"{_scores(evaluation.metrics)}.",
            from_timestamp(evaluation.create_time),
        )

    async def version(self, name: str) -> Fact:
        """Its digest and its origin."""
        with remote_errors("registry"):
            version = await self._models.GetVersion(model_service_pb.GetVersionRequest(name=name))
        job = _named(Link(CauseKind.TRAINING_JOB, version.training_job))
        snapshots = _named(*(Link(CauseKind.SNAPSHOT, snapshot) for snapshot in version.snapshots))
        return Fact(
            f"Bundle {version.digest[:19]}... of {len(version.files)} files.",
            from_timestamp(version.create_time),
            job or snapshots,
        )

    async def snapshot(self, name: str) -> Fact:
        """What rows it holds, and from where."""
        with remote_errors("registry"):
            snapshot = await self._datasets.GetSnapshot(
                dataset_service_pb.GetSnapshotRequest(name=name)
            )
        parents = (Link(CauseKind.SNAPSHOT, parent) for parent in snapshot.parents)
        return Fact(
            f"{snapshot.cleaning.rows_kept:,} rows{_window(snapshot)} from "
            f"{snapshot.source or 'an unnamed source'}.",
            from_timestamp(snapshot.create_time),
            _named(*parents),
        )


class TrainerFacts:
    """Training jobs.

    Args:
        channel: To the trainer.
        episode_name: Gives the name of the episode with a uid; empty if there is none.
    """

    def __init__(
        self, channel: grpc.aio.Channel, episode_name: Callable[[str], Awaitable[str]]
    ) -> None:
        self._jobs = job_grpc.JobServiceStub(channel)
        self._episode_name = episode_name

    async def training_job(self, name: str) -> Fact:
        """Which candidate won, and why the job was run."""
        with remote_errors("trainer"):
            job = await self._jobs.GetTrainingJob(job_service_pb.GetTrainingJobRequest(name=name))
            trials = await self._jobs.ListTrials(job_service_pb.ListTrialsRequest(parent=name))
        scored = [trial for trial in trials.trials if trial.state == job_pb.Trial.STATE_SUCCEEDED]
        metric = job.spec.metric or "auc"
        compared = ", ".join(
            f"{trial.algorithm} {trial.metrics[metric]:.4f}"
            + (" (won)" if trial.name == job.best_trial else "")
            for trial in scored
        )
        uid = job.labels.get("episode", "")
        episode = await self._episode_name(uid) if uid else ""
        return Fact(
            f"Compared on validation {metric}: {compared or 'nothing yet'}.",
            from_timestamp(job.create_time),
            _named(Link(CauseKind.SNAPSHOT, job.spec.snapshot), Link(CauseKind.EPISODE, episode)),
        )


def remote_sources(
    inference: InferenceFacts, registry: RegistryFacts, trainer: TrainerFacts
) -> dict[CauseKind, FactSource]:
    """Who knows each kind that lives in another service."""
    return {
        CauseKind.ENDPOINT: inference.endpoint,
        CauseKind.ROLLOUT: inference.rollout,
        CauseKind.APPROVAL: registry.approval,
        CauseKind.GATE_RESULT: registry.gate_result,
        CauseKind.EVALUATION: registry.evaluation,
        CauseKind.VERSION: registry.version,
        CauseKind.SNAPSHOT: registry.snapshot,
        CauseKind.TRAINING_JOB: trainer.training_job,
    }


def _named(*links: Link) -> tuple[Link, ...]:
    return tuple(link for link in links if link.name)


def _scores(metrics: Mapping[str, float]) -> str:
    return ", ".join(f"{metric} {value:.4f}" for metric, value in sorted(metrics.items()))


def _window(snapshot: dataset_pb.DatasetSnapshot) -> str:
    if not snapshot.HasField("start_time"):
        return ""
    start, end = from_timestamp(snapshot.start_time), from_timestamp(snapshot.end_time)
    return f" from {start:%Y-%m-%d} to {end:%Y-%m-%d}"
