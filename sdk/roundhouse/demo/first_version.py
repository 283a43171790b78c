"""From a file to a version in service: what a person does once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from roundhouse.client import AsyncClient
from roundhouse.demo import resources
from roundhouse.inference.v1.endpoint_service_pb2 import CreateEndpointRequest
from roundhouse.inference.v1.rollout_service_pb2 import PlanRolloutRequest
from roundhouse.monitor.v1.monitor_service_pb2 import CreateMonitorRequest
from roundhouse.monitor.v1.retrain_service_pb2 import CreateRetrainPolicyRequest
from roundhouse.registry.v1.dataset_pb2 import Dataset, DatasetSnapshot
from roundhouse.registry.v1.dataset_service_pb2 import (
    CreateDatasetRequest,
    CreateSnapshotRequest,
    SealSnapshotRequest,
    UploadSnapshotFileRequest,
)
from roundhouse.registry.v1.evaluation_pb2 import Approval, GateResult
from roundhouse.registry.v1.evaluation_service_pb2 import (
    DecideApprovalRequest,
    EvaluateGateRequest,
    RequestApprovalRequest,
)
from roundhouse.registry.v1.model_service_pb2 import CreateModelRequest, MoveAliasesRequest
from roundhouse.trainer.v1.job_pb2 import TrainingJob
from roundhouse.trainer.v1.job_service_pb2 import (
    CreateTrainingJobRequest,
    WatchTrainingJobRequest,
    WatchTrainingJobResponse,
)

_LOADING_TIMEOUT_S = 60.0


class StepFailed(Exception):
    """A step of the demo ended other than it must for the next to make sense."""


async def import_snapshot(client: AsyncClient, files: Iterable[Path]) -> DatasetSnapshot:
    """The files as one sealed snapshot, with what cleaning removed."""
    await client.datasets.CreateDataset(
        CreateDatasetRequest(
            parent=resources.PROJECT,
            dataset_id="flights",
            dataset=Dataset(description="Flights that left New York in 2013"),
        )
    )
    opened = await client.datasets.CreateSnapshot(
        CreateSnapshotRequest(
            parent=resources.DATASET, snapshot_id="first", snapshot=resources.snapshot()
        )
    )
    for file in files:
        await client.upload_snapshot_file(
            opened.name, file, UploadSnapshotFileRequest.Header.FORMAT_PARQUET
        )
    return await client.datasets.SealSnapshot(SealSnapshotRequest(name=opened.name))


async def train(
    client: AsyncClient,
    snapshot: str,
    algorithms: Sequence[str],
    on_change: Callable[[WatchTrainingJobResponse], None],
) -> TrainingJob:
    """The first job, succeeded.

    Args:
        client: To the services.
        snapshot: To train on, by resource name.
        algorithms: Candidates to compare.
        on_change: Told of every change of the job and its trials.

    Raises:
        StepFailed: The job failed.
    """
    await client.models.CreateModel(
        CreateModelRequest(parent=resources.PROJECT, model_id="flights", model=resources.model())
    )
    job = await client.jobs.CreateTrainingJob(
        CreateTrainingJobRequest(
            parent=resources.PROJECT,
            training_job_id="first",
            training_job=TrainingJob(spec=resources.job_spec(snapshot, algorithms)),
        )
    )
    async for change in client.jobs.WatchTrainingJob(WatchTrainingJobRequest(name=job.name)):
        on_change(change)
        job = change.training_job
    if job.state != TrainingJob.STATE_SUCCEEDED:
        raise StepFailed(
            f"The training job ended as {TrainingJob.State.Name(job.state)}: {job.error.message}"
        )
    return job


async def approve(client: AsyncClient, job: TrainingJob) -> tuple[GateResult, Approval]:
    """Gate the version, ask for approval as one person, give it as another, name it champion.

    Raises:
        StepFailed: The gate did not pass.
    """
    gate = await client.evaluations.EvaluateGate(EvaluateGateRequest(evaluation=job.evaluation))
    if not gate.passed:
        reasons = " ".join(verdict.explanation for verdict in gate.verdicts)
        raise StepFailed(f"The first version did not pass the gate: {reasons}")
    plan = await client.rollouts.PlanRollout(PlanRolloutRequest(at_once=True))
    asked = await client.evaluations.RequestApproval(
        RequestApprovalRequest(
            parent=job.model_version,
            approval=Approval(
                gate_result=gate.name,
                requester=resources.DATA_SCIENTIST,
                plan_digest=plan.digest,
            ),
        )
    )
    approval = await client.evaluations.DecideApproval(
        DecideApprovalRequest(
            name=asked.name,
            decision=DecideApprovalRequest.DECISION_APPROVE,
            approver=resources.ON_CALL,
            comment="The gate passed on rows that the model has not seen.",
        )
    )
    await client.models.MoveAliases(
        MoveAliasesRequest(
            moves=[
                MoveAliasesRequest.Move(
                    alias=resources.CHAMPION,
                    to_version=job.model_version,
                    approval=approval.name,
                    plan_digest=plan.digest,
                )
            ],
            actor=resources.DATA_SCIENTIST,
            reason="The first version.",
        )
    )
    return gate, approval


async def serve(client: AsyncClient, version: str, approval: str) -> None:
    """Create the endpoint, and what watches it."""
    await client.endpoints.CreateEndpoint(
        CreateEndpointRequest(
            parent=resources.PROJECT,
            endpoint_id=resources.ENDPOINT_ID,
            endpoint=resources.endpoint(version, approval),
        ),
        timeout=_LOADING_TIMEOUT_S,
    )
    await client.monitors.CreateMonitor(
        CreateMonitorRequest(
            parent=resources.PROJECT, monitor_id="flights", monitor=resources.monitor()
        )
    )
    await client.retraining.CreateRetrainPolicy(
        CreateRetrainPolicyRequest(
            parent=resources.MONITOR,
            retrain_policy_id="drift-or-quality",
            retrain_policy=resources.retrain_policy(),
        )
    )
