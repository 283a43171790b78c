"""Registry, trainer and inference as a monitor's dashboard finds them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

from google.type.money_pb2 import Money
from roundhouse.common.v1 import verdicts_pb2
from roundhouse.inference.v1 import endpoint_pb2, rollout_pb2
from roundhouse.inference.v1 import endpoint_service_pb2 as endpoint_service_pb
from roundhouse.inference.v1 import endpoint_service_pb2_grpc as endpoint_grpc
from roundhouse.inference.v1 import rollout_service_pb2 as rollout_service_pb
from roundhouse.inference.v1 import rollout_service_pb2_grpc as rollout_grpc
from roundhouse.registry.v1 import dataset_pb2, evaluation_pb2, model_pb2
from roundhouse.registry.v1 import dataset_service_pb2_grpc as dataset_grpc
from roundhouse.registry.v1 import evaluation_service_pb2 as evaluation_service_pb
from roundhouse.registry.v1 import evaluation_service_pb2_grpc as evaluation_grpc
from roundhouse.registry.v1 import model_service_pb2 as model_service_pb
from roundhouse.registry.v1 import model_service_pb2_grpc as model_grpc
from roundhouse.trainer.v1 import cost_service_pb2 as cost_pb
from roundhouse.trainer.v1 import cost_service_pb2_grpc as cost_grpc
from roundhouse.trainer.v1 import job_pb2, worker_service_pb2
from roundhouse.trainer.v1 import job_service_pb2 as job_service_pb
from roundhouse.trainer.v1 import job_service_pb2_grpc as job_grpc

from services.common.rpc.convert import to_duration, to_timestamp
from tests.support.monitor_values import (
    CHAMPION,
    DATASET,
    ENDPOINT,
    JOB,
)

CANDIDATE = "projects/default/models/delays/versions/2"
ROLLOUT = f"{ENDPOINT}/rollouts/second"
FIRST_WEEK = datetime(2013, 1, 7, tzinfo=UTC)
JOBS_END = datetime(2013, 3, 14, tzinfo=UTC)
NAN_LOSS = job_pb2.JobError(error_class=job_pb2.JobError.ERROR_CLASS_NAN_LOSS, message="NaN.")
MODEL_COSTS = {"projects/default/models/delays": 9, "projects/default/models/fares": 3}
MONTHLY_COSTS = {"2013-03": 7, "2013-01": 4, "2013-02": 1}
"""In dollars."""

FARES = "projects/default/models/fares"
FARE_ENDPOINT = "projects/default/endpoints/fares"
MODELS = ("projects/default/models/delays", FARES, "projects/default/models/refunds")
TESTS = {
    CHAMPION: {"auc": 0.7400, "log_loss": 0.44},
    f"{FARES}/versions/1": {"balanced_accuracy": 0.6, "recall.a": 0.5, "recall.b": 0.7},
    f"{FARES}/versions/2": {"balanced_accuracy": 0.8, "recall.a": 0.8, "recall.b": 0.8},
}
"""What each version scored on its held-out rows."""

CURVES = {
    "train_loss": lambda step: 0.3 + 0.4 / step,
    "validation_auc": lambda step: 0.73 - 0.2 / step,
}


def training_jobs() -> list[job_pb2.TrainingJob]:
    """One that runs, one that went well and one that failed, newest first."""
    lost = job_pb2.JobError(
        error_class=job_pb2.JobError.ERROR_CLASS_WORKER_LOST, message="worker w-1 is gone"
    )
    state = job_pb2.TrainingJob
    jobs = [
        (state.STATE_RUNNING, None, 0.4),
        (state.STATE_SUCCEEDED, None, 1.0),
        (state.STATE_FAILED, NAN_LOSS, 0.2),
    ]
    return [
        job_pb2.TrainingJob(
            name=f"{JOB}-{number}",
            spec=job_pb2.JobSpec(model="projects/default/models/delays"),
            state=reached,
            error=error,
            progress=progress,
            owner="ann",
            trace_id="0af7651916cd43dd8448eb211c80319c",
            create_time=to_timestamp(JOBS_END),
            update_time=to_timestamp(JOBS_END),
            attempts=[
                job_pb2.Attempt(
                    number=1,
                    node="n7",
                    state=job_pb2.Attempt.STATE_LOST,
                    start_time=to_timestamp(JOBS_END),
                    end_time=to_timestamp(JOBS_END),
                    error=lost,
                )
            ],
        )
        for number, (reached, error, progress) in enumerate(jobs)
    ]


class Peers(
    endpoint_grpc.EndpointServiceServicer,
    rollout_grpc.RolloutServiceServicer,
    model_grpc.ModelServiceServicer,
    dataset_grpc.DatasetServiceServicer,
    evaluation_grpc.EvaluationServiceServicer,
    job_grpc.JobServiceServicer,
    cost_grpc.CostServiceServicer,
):
    """Registry, trainer and inference that know one story.

    Args:
        episode: Uid of the episode that the serving version came from.
    """

    def __init__(self, episode: str) -> None:
        self._episode = episode

    async def GetEndpoint(self, request: Any, _: Any) -> endpoint_pb2.Endpoint:
        variant = endpoint_pb2.Variant(version=CHAMPION, weight_basis_points=10_000)
        return endpoint_pb2.Endpoint(
            name=ENDPOINT, variants=[variant], update_time=to_timestamp(FIRST_WEEK)
        )

    async def ListRollouts(self, request: Any, _: Any) -> rollout_service_pb.ListRolloutsResponse:
        rollout = self._rollout()
        finding = verdicts_pb2.Finding(
            measure=verdicts_pb2.MEASURE_LOG_LOSS,
            slice_feature="carrier",
            slice_value="HA",
            effect=0.08,
            tolerance=0.02,
            verdict=verdicts_pb2.EVIDENCE_VERDICT_FAIL,
            reason="The log loss where carrier is HA rose by 0.08.",
        )
        rollout.outcomes.add(end_time=to_timestamp(FIRST_WEEK), findings=[finding])
        if request.parent == FARE_ENDPOINT:
            rollout.name, rollout.version = f"{FARE_ENDPOINT}/rollouts/r", f"{FARES}/versions/2"
            rollout.outcomes[0].end_time.CopyFrom(to_timestamp(JOBS_END))
        return rollout_service_pb.ListRolloutsResponse(rollouts=[rollout])

    async def ListEndpoints(
        self, request: Any, _: Any
    ) -> endpoint_service_pb.ListEndpointsResponse:
        first = {ENDPOINT: "", FARE_ENDPOINT: f"{FARES}/versions/1"}
        return endpoint_service_pb.ListEndpointsResponse(
            endpoints=[
                endpoint_pb2.Endpoint(
                    name=name, initial_version=version, create_time=to_timestamp(FIRST_WEEK)
                )
                for name, version in first.items()
            ]
        )

    async def ListModels(self, request: Any, _: Any) -> model_service_pb.ListModelsResponse:
        return model_service_pb.ListModelsResponse(
            models=[model_pb2.Model(name=name) for name in MODELS]
        )

    async def ListEvaluations(
        self, request: Any, _: Any
    ) -> evaluation_service_pb.ListEvaluationsResponse:
        again = {"auc": 0.5}  # scored once more, which counts for nothing
        return evaluation_service_pb.ListEvaluationsResponse(
            evaluations=[
                evaluation_pb2.Evaluation(
                    name=f"{request.parent}/evaluations/{number}",
                    metrics=metrics,
                    standard_errors={"auc": 0.005},
                    slices=[
                        evaluation_pb2.Evaluation.Slice(
                            column="carrier", value="HA", rows=90, metrics={"auc": 0.72}
                        )
                    ],
                )
                for number, metrics in enumerate((again, TESTS[request.parent]))
            ]
        )

    async def GetRollout(self, request: Any, _: Any) -> rollout_pb2.Rollout:
        return self._rollout()

    def _rollout(self) -> rollout_pb2.Rollout:
        return rollout_pb2.Rollout(
            name=ROLLOUT,
            version=CHAMPION,
            previous_version=CANDIDATE,
            state=rollout_pb2.Rollout.STATE_SUCCEEDED,
            update_time=to_timestamp(FIRST_WEEK),
        )

    async def GetVersion(self, request: Any, _: Any) -> model_pb2.ModelVersion:
        return model_pb2.ModelVersion(
            name=CHAMPION,
            digest="sha256:0f1e2d3c4b5a",
            training_job=JOB,
            create_time=to_timestamp(FIRST_WEEK),
        )

    async def GetApproval(self, request: Any, _: Any) -> evaluation_pb2.Approval:
        state = evaluation_pb2.Approval.STATE_PENDING
        return evaluation_pb2.Approval(name=request.name, state=state)

    async def GetSnapshot(self, request: Any, _: Any) -> dataset_pb2.DatasetSnapshot:
        return dataset_pb2.DatasetSnapshot(
            name=request.name, source="flights", create_time=to_timestamp(FIRST_WEEK)
        )

    async def GetTrainingJob(self, request: Any, _: Any) -> job_pb2.TrainingJob:
        jobs = {job.name: job for job in training_jobs()}
        if request.name in jobs:
            return jobs[request.name]
        spec = job_pb2.JobSpec(snapshot=f"{DATASET}/snapshots/s")
        return job_pb2.TrainingJob(
            name=JOB,
            spec=spec,
            labels={"episode": self._episode},
            create_time=to_timestamp(FIRST_WEEK),
        )

    async def ListTrainingJobs(
        self, request: job_service_pb.ListTrainingJobsRequest, _: Any
    ) -> job_service_pb.ListTrainingJobsResponse:
        running, *ended = training_jobs()
        jobs = [running, *ended]
        if "state" in request.filter:
            jobs = [running] if "!=" in request.filter else ended
        return job_service_pb.ListTrainingJobsResponse(training_jobs=jobs)

    async def ListCheckpoints(self, request: Any, _: Any) -> job_service_pb.ListCheckpointsResponse:
        kept = worker_service_pb2.Checkpoint(
            trial="mlp-1", step=40, digest=f"sha256:{'ab' * 32}", size_bytes=91_000
        )
        return job_service_pb.ListCheckpointsResponse(checkpoints=[kept])

    async def ReadMetrics(self, request: Any, _: Any) -> job_service_pb.ReadMetricsResponse:
        points = [
            job_pb2.MetricPoint(trial="mlp-1", series=series, step=step, value=value)
            for series, value_at in CURVES.items()
            for step in range(1, 41)
            for value in [value_at(step)]
        ]
        return job_service_pb.ReadMetricsResponse(points=points)

    async def TailLogs(self, request: Any, _: Any) -> AsyncIterator[job_pb2.LogLine]:
        for number in range(1, 4):
            yield job_pb2.LogLine(number=number, text=f"epoch {number} of 40")

    async def QueryCosts(
        self, request: cost_pb.QueryCostsRequest, _: Any
    ) -> cost_pb.QueryCostsResponse:
        by_month = request.group_by == cost_pb.QueryCostsRequest.GROUP_BY_MONTH
        costs = MONTHLY_COSTS if by_month else MODEL_COSTS
        return cost_pb.QueryCostsResponse(
            lines=[
                cost_pb.QueryCostsResponse.Line(
                    group=group, cost=_usd(units), charged=to_duration(100 * units)
                )
                for group, units in costs.items()
            ],
            total=_usd(sum(costs.values())),
        )

    async def ListTrials(self, request: Any, _: Any) -> job_service_pb.ListTrialsResponse:
        return job_service_pb.ListTrialsResponse()


def _usd(units: int) -> Money:
    return Money(currency_code="USD", units=units)


def peer_apis(peers: Peers) -> list[Any]:
    return [
        ("roundhouse.inference.v1.EndpointService", _adder(endpoint_grpc, "Endpoint", peers)),
        ("roundhouse.inference.v1.RolloutService", _adder(rollout_grpc, "Rollout", peers)),
        ("roundhouse.registry.v1.ModelService", _adder(model_grpc, "Model", peers)),
        ("roundhouse.registry.v1.DatasetService", _adder(dataset_grpc, "Dataset", peers)),
        ("roundhouse.registry.v1.EvaluationService", _adder(evaluation_grpc, "Evaluation", peers)),
        ("roundhouse.trainer.v1.JobService", _adder(job_grpc, "Job", peers)),
        ("roundhouse.trainer.v1.CostService", _adder(cost_grpc, "Cost", peers)),
    ]


def _adder(module: Any, service: str, peers: Peers) -> Any:
    add = getattr(module, f"add_{service}ServiceServicer_to_server")
    return lambda server: add(peers, server)
