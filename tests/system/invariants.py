"""What must hold when a loop is over, whatever was killed on the way."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from roundhouse.inference.v1 import endpoint_service_pb2, rollout_pb2, rollout_service_pb2
from roundhouse.monitor.v1 import monitor_pb2, retrain_service_pb2
from roundhouse.registry.v1 import (
    dataset_pb2,
    dataset_service_pb2,
    evaluation_pb2,
    evaluation_service_pb2,
    model_pb2,
    model_service_pb2,
)
from roundhouse.trainer.v1 import job_pb2, job_service_pb2

from tests.system.clients import Clients, answered, until
from tests.system.loop import LoopResult
from tests.system.observations import stored_observations, stored_outcomes
from tests.system.scenario import (
    CHAMPION,
    DATASET,
    ENDPOINT,
    JOB,
    MODEL,
    MONITOR,
    PROJECT,
    SNAPSHOT,
)
from tests.system.suite import Suite

_SETTLING_S = 30.0


async def violations(suite: Suite, clients: Clients, result: LoopResult) -> list[str]:
    """Everything that is not as it must be; empty when all is well."""
    checks: list[Callable[[], Awaitable[dict[str, tuple[object, object]]]]] = [
        lambda: _monitor(clients, result),
        lambda: _registry(clients, result),
        lambda: _trainer(clients, result),
        lambda: _inference(clients, result),
        lambda: _observations(suite, result),
    ]
    found = []
    for check in checks:
        facts = await check()
        found += [
            f"{what}: {actual!r} instead of {wanted!r}"
            for what, (actual, wanted) in facts.items()
            if actual != wanted
        ]
    return found


async def _monitor(clients: Clients, result: LoopResult) -> dict[str, tuple[object, object]]:
    episodes = await answered(
        clients.retraining.ListEpisodes, retrain_service_pb2.ListEpisodesRequest(parent=MONITOR)
    )
    decisions = await answered(
        clients.retraining.ListRetrainDecisions,
        retrain_service_pb2.ListRetrainDecisionsRequest(parent=MONITOR, page_size=1000),
    )
    triggered = [
        decision.name
        for decision in decisions.retrain_decisions
        if decision.kind == monitor_pb2.RetrainDecision.KIND_TRIGGERED
    ]
    promoted = monitor_pb2.Episode.STATE_PROMOTED
    return {
        "state of the episode": (_named(result.episode), "STATE_PROMOTED"),
        "episodes": ([episode.state for episode in episodes.episodes], [promoted]),
        "decisions that triggered": (triggered, [result.episode.decision]),
        "champion of the episode": (result.episode.champion, result.first.version),
    }


async def _registry(clients: Clients, result: LoopResult) -> dict[str, tuple[object, object]]:
    snapshots = await answered(
        clients.datasets.ListSnapshots, dataset_service_pb2.ListSnapshotsRequest(parent=DATASET)
    )
    versions = await answered(
        clients.models.ListVersions, model_service_pb2.ListVersionsRequest(parent=MODEL)
    )
    approvals = await answered(
        clients.evaluations.ListApprovals,
        evaluation_service_pb2.ListApprovalsRequest(parent=f"{MODEL}/versions/-"),
    )
    alias = await answered(
        clients.models.GetAlias, model_service_pb2.GetAliasRequest(name=CHAMPION)
    )
    sealed, ready = dataset_pb2.DatasetSnapshot.STATE_SEALED, model_pb2.ModelVersion.STATE_READY
    approved = evaluation_pb2.Approval.STATE_APPROVED
    return {
        "snapshots": (
            {snapshot.name: snapshot.state for snapshot in snapshots.snapshots},
            {SNAPSHOT: sealed, result.episode.snapshot: sealed},
        ),
        "versions": (
            {version.name: version.state for version in versions.versions},
            {result.first.version: ready, result.episode.candidate: ready},
        ),
        "approvals": (
            {approval.name: approval.state for approval in approvals.approvals},
            {result.first.approval: approved, result.episode.approval: approved},
        ),
        "champion": (alias.version, result.episode.candidate),
    }


async def _trainer(clients: Clients, result: LoopResult) -> dict[str, tuple[object, object]]:
    jobs = await answered(
        clients.jobs.ListTrainingJobs, job_service_pb2.ListTrainingJobsRequest(parent=PROJECT)
    )
    succeeded = job_pb2.TrainingJob.STATE_SUCCEEDED
    return {
        "jobs": (
            {job.name: (job.state, job.model_version) for job in jobs.training_jobs},
            {
                JOB: (succeeded, result.first.version),
                result.episode.training_job: (succeeded, result.episode.candidate),
            },
        )
    }


async def _inference(clients: Clients, result: LoopResult) -> dict[str, tuple[object, object]]:
    rollouts = await answered(
        clients.rollouts.ListRollouts, rollout_service_pb2.ListRolloutsRequest(parent=ENDPOINT)
    )
    endpoint = await answered(
        clients.endpoints.GetEndpoint, endpoint_service_pb2.GetEndpointRequest(name=ENDPOINT)
    )
    weights = {
        variant.version: variant.weight_basis_points
        for variant in endpoint.variants
        if variant.weight_basis_points
    }
    verdicts = [outcome.verdict for rollout in rollouts.rollouts for outcome in rollout.outcomes]
    return {
        "rollouts": (
            {rollout.name: rollout.state for rollout in rollouts.rollouts},
            {result.episode.rollout: rollout_pb2.Rollout.STATE_SUCCEEDED},
        ),
        "verdicts": (verdicts, [rollout_pb2.PhaseOutcome.VERDICT_PASS] * 3),
        "weights": (weights, {result.episode.candidate: 10_000}),
    }


async def _observations(suite: Suite, result: LoopResult) -> dict[str, tuple[object, object]]:
    acknowledged = {prediction.id: prediction for prediction in result.log.predictions}

    async def all_there() -> bool:
        return acknowledged.keys() <= stored_observations(suite).keys()

    try:
        await until(all_there, what="acknowledged observations", timeout_s=_SETTLING_S)
    except TimeoutError:
        missing = acknowledged.keys() - stored_observations(suite).keys()
        return {"acknowledged observations that are missing": (len(missing), 0)}
    counts, outcomes = stored_observations(suite), stored_outcomes(suite)
    wanted = {each: [prediction.flight.outcome] for each, prediction in acknowledged.items()}
    return {
        "observations stored twice": ([each for each, n in counts.items() if n > 1], []),
        "outcomes that are missing": (len(wanted.keys() - outcomes.keys()), 0),
        "outcomes that differ": (
            [each for each in outcomes if outcomes[each] != wanted.get(each)],
            [],
        ),
    }


def _named(episode: monitor_pb2.Episode) -> str:
    name = monitor_pb2.Episode.State.Name(episode.state)
    return f"{name} ({episode.message})" if name != "STATE_PROMOTED" else name
