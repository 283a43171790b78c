"""A registry on a real port, and short calls to it."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
from roundhouse.common.v1 import events_pb2_grpc
from roundhouse.registry.v1 import (
    dataset_pb2,
    dataset_service_pb2,
    dataset_service_pb2_grpc,
    evaluation_pb2,
    evaluation_service_pb2,
    evaluation_service_pb2_grpc,
    lineage_service_pb2_grpc,
    model_pb2,
    model_service_pb2,
    model_service_pb2_grpc,
    retention_pb2,
    retention_service_pb2,
    retention_service_pb2_grpc,
)

from services.common.clock import Clock, utc_now
from services.registry.settings import RegistrySettings
from services.registry.wiring import registry
from tests.support.calls import PROJECT, TIMEOUT_S, request_id

MANIFEST = "manifest.json"
SIGNATURE = json.dumps(
    {
        "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 1]}],
        "outputs": [{"name": "probabilities", "datatype": "FP32", "shape": [-1, 2]}],
    }
).encode()
BUNDLE: Mapping[str, bytes] = {"model.onnx": b"\x08\x0a" * 1000, "signature.json": SIGNATURE}


def digest_of(data: bytes) -> str:
    """`sha256:` and 64 hex digits."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def manifest_of(files: Mapping[str, bytes]) -> bytes:
    """The canonical manifest of a bundle, written without the registry's own code."""
    entries = [
        {"path": path, "sha256": digest_of(data), "size_bytes": len(data)}
        for path, data in sorted(files.items())
    ]
    return json.dumps({"files": entries}, sort_keys=True, separators=(",", ":")).encode()


class RegistryCaller:
    """Stubs of every service of one registry, and its longer conversations.

    Args:
        channel: To the registry; the caller closes it.
    """

    address = ""
    """`host:port`, where the registry is this process's own."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.channel = channel
        self.datasets = dataset_service_pb2_grpc.DatasetServiceStub(channel)
        self.models = model_service_pb2_grpc.ModelServiceStub(channel)
        self.evaluations = evaluation_service_pb2_grpc.EvaluationServiceStub(channel)
        self.retention = retention_service_pb2_grpc.RetentionServiceStub(channel)
        self.lineage = lineage_service_pb2_grpc.LineageServiceStub(channel)
        self.events = events_pb2_grpc.EventServiceStub(channel)

    async def create_dataset(self, dataset_id: str = "flights", **fields: Any) -> str:
        """The name of a new dataset."""
        dataset = await self.datasets.CreateDataset(
            dataset_service_pb2.CreateDatasetRequest(
                parent=PROJECT,
                dataset_id=dataset_id,
                dataset=dataset_pb2.Dataset(**fields),
                request_id=request_id(),
            ),
            timeout=TIMEOUT_S,
        )
        return dataset.name

    async def create_snapshot(self, dataset: str, snapshot_id: str, **fields: Any) -> str:
        """The name of a new, open snapshot."""
        snapshot = await self.datasets.CreateSnapshot(
            dataset_service_pb2.CreateSnapshotRequest(
                parent=dataset,
                snapshot_id=snapshot_id,
                snapshot=dataset_pb2.DatasetSnapshot(**fields),
                request_id=request_id(),
            ),
            timeout=TIMEOUT_S,
        )
        return snapshot.name

    async def upload_csv(
        self, snapshot: str, data: bytes, /, path: str = "a.parquet", **header: Any
    ) -> dataset_pb2.SnapshotFile:
        """A CSV added to a snapshot."""
        request_type = dataset_service_pb2.UploadSnapshotFileRequest
        fields = {
            "snapshot": snapshot,
            "path": path,
            "format": request_type.Header.FORMAT_CSV,
            "digest": digest_of(data),
            "request_id": request_id(),
            **header,
        }
        parts = [request_type(header=request_type.Header(**fields))]
        parts += [request_type(chunk=data[at : at + 2**20]) for at in range(0, len(data), 2**20)]
        return await self.datasets.UploadSnapshotFile(parts, timeout=TIMEOUT_S)

    async def seal(self, snapshot: str) -> dataset_pb2.DatasetSnapshot:
        """The snapshot, final."""
        return await self.datasets.SealSnapshot(
            dataset_service_pb2.SealSnapshotRequest(name=snapshot, request_id=request_id()),
            timeout=TIMEOUT_S,
        )

    async def sealed_snapshot(self, snapshot_id: str = "january", data: bytes = b"x\n1\n") -> str:
        """The name of a sealed snapshot of one CSV, in a new or present dataset."""
        try:
            dataset = await self.create_dataset()
        except grpc.aio.AioRpcError:
            dataset = f"{PROJECT}/datasets/flights"
        snapshot = await self.create_snapshot(dataset, snapshot_id)
        await self.upload_csv(snapshot, data)
        return (await self.seal(snapshot)).name

    async def create_model(self, model_id: str = "delays", **fields: Any) -> str:
        """The name of a new model."""
        model = await self.models.CreateModel(
            model_service_pb2.CreateModelRequest(
                parent=PROJECT,
                model_id=model_id,
                model=model_pb2.Model(**fields),
                request_id=request_id(),
            ),
            timeout=TIMEOUT_S,
        )
        return model.name

    async def begin(self, model: str, **fields: Any) -> str:
        """The name of a new version that takes files."""
        version = await self.models.BeginVersionUpload(
            model_service_pb2.BeginVersionUploadRequest(
                parent=model,
                version=model_pb2.ModelVersion(**fields),
                request_id=request_id(),
            ),
            timeout=TIMEOUT_S,
        )
        return version.name

    async def upload_artifact(
        self, version: str, path: str, data: bytes, /, **header: Any
    ) -> model_pb2.ArtifactFile:
        """A file added to a version."""
        request_type = model_service_pb2.UploadArtifactRequest
        fields = {
            "version": version,
            "path": path,
            "digest": digest_of(data),
            "request_id": request_id(),
            **header,
        }
        parts = [request_type(header=request_type.Header(**fields))]
        parts += [request_type(chunk=data[at : at + 2**20]) for at in range(0, len(data), 2**20)]
        return await self.models.UploadArtifact(parts, timeout=TIMEOUT_S)

    async def upload_bundle(self, version: str, files: Mapping[str, bytes] = BUNDLE) -> str:
        """The digest of the manifest, once all files and it are uploaded."""
        manifest = manifest_of(files)
        for path, data in {**files, MANIFEST: manifest}.items():
            await self.upload_artifact(version, path, data)
        return digest_of(manifest)

    async def commit(self, version: str, digest: str) -> model_pb2.ModelVersion:
        """The version, READY."""
        return await self.models.CommitVersion(
            model_service_pb2.CommitVersionRequest(
                name=version, manifest_digest=digest, request_id=request_id()
            ),
            timeout=TIMEOUT_S,
        )

    async def ready_version(
        self, model: str, files: Mapping[str, bytes] = BUNDLE, **fields: Any
    ) -> str:
        """The name of a committed version."""
        version = await self.begin(model, **fields)
        await self.commit(version, await self.upload_bundle(version, files))
        return version

    async def evaluate(
        self,
        version: str,
        snapshot: str,
        *,
        rows: bytes = b"rows",
        purpose: evaluation_pb2.Evaluation.Purpose.ValueType = (
            evaluation_pb2.Evaluation.PURPOSE_UNSPECIFIED
        ),
        **metrics: float,
    ) -> evaluation_pb2.Evaluation:
        """Scores of the version on the test part of the snapshot, or on other rows of it."""
        return await self.evaluations.RecordEvaluation(
            evaluation_service_pb2.RecordEvaluationRequest(
                parent=version,
                evaluation=evaluation_pb2.Evaluation(
                    snapshot=snapshot,
                    split="test",
                    split_digest=digest_of(rows),
                    rows=100,
                    metrics=metrics,
                    purpose=purpose,
                ),
                request_id=request_id(),
            ),
            timeout=TIMEOUT_S,
        )

    async def gate(self, evaluation: str, baseline: str = "") -> evaluation_pb2.GateResult:
        """What the gate says."""
        return await self.evaluations.EvaluateGate(
            evaluation_service_pb2.EvaluateGateRequest(
                evaluation=evaluation, baseline_evaluation=baseline, request_id=request_id()
            ),
            timeout=TIMEOUT_S,
        )

    async def ask(self, version: str, gate_result: str, **fields: Any) -> evaluation_pb2.Approval:
        """An approval that ann asks for."""
        return await self.evaluations.RequestApproval(
            evaluation_service_pb2.RequestApprovalRequest(
                parent=version,
                approval=evaluation_pb2.Approval(
                    gate_result=gate_result, requester="ann", **fields
                ),
                request_id=request_id(),
            ),
            timeout=TIMEOUT_S,
        )

    async def decide(
        self, approval: str, approver: str = "bob", **fields: Any
    ) -> evaluation_pb2.Approval:
        """The approval with a decision, by default bob's to allow it."""
        request_type = evaluation_service_pb2.DecideApprovalRequest
        return await self.evaluations.DecideApproval(
            request_type(
                **{
                    "name": approval,
                    "decision": request_type.DECISION_APPROVE,
                    "approver": approver,
                    "request_id": request_id(),
                    **fields,
                }
            ),
            timeout=TIMEOUT_S,
        )

    async def move(
        self, *moves: Sequence[str], **fields: Any
    ) -> model_service_pb2.MoveAliasesResponse:
        """Aliases moved; each move is the alias, the version and the version expected."""
        request_type = model_service_pb2.MoveAliasesRequest
        return await self.models.MoveAliases(
            request_type(
                moves=[
                    request_type.Move(alias=alias, to_version=to, expected_version=expected)
                    for alias, to, expected in moves
                ],
                **{"actor": "ann", "reason": "test", "request_id": request_id(), **fields},
            ),
            timeout=TIMEOUT_S,
        )

    async def plan(self, name: str) -> retention_pb2.CollectionPlan:
        """A collection plan as it stands."""
        return await self.retention.GetCollectionPlan(
            retention_service_pb2.GetCollectionPlanRequest(name=name), timeout=TIMEOUT_S
        )

    async def plan_collection(self) -> retention_pb2.CollectionPlan:
        """A new collection plan."""
        return await self.retention.PlanGarbageCollection(
            retention_service_pb2.PlanGarbageCollectionRequest(
                parent=PROJECT, actor="ann", request_id=request_id()
            ),
            timeout=TIMEOUT_S,
        )

    async def collect(
        self, plan: retention_pb2.CollectionPlan, within_s: float = 60.0
    ) -> retention_pb2.CollectionPlan:
        """The plan, once it is carried out."""
        await self.retention.RunGarbageCollection(
            retention_service_pb2.RunGarbageCollectionRequest(
                name=plan.name, digest=plan.digest, request_id=request_id()
            ),
            timeout=TIMEOUT_S,
        )
        return await self.until_collected(plan.name, within_s)

    async def until_collected(
        self, plan: str, within_s: float = 60.0
    ) -> retention_pb2.CollectionPlan:
        """The plan that was begun, once it is carried out."""
        async with asyncio.timeout(within_s):
            while True:
                found = await self.plan(plan)
                if found.state == retention_pb2.CollectionPlan.STATE_SUCCEEDED:
                    return found
                await asyncio.sleep(0.05)

    async def collection_items(
        self, plan: str, filter_: str = ""
    ) -> list[retention_pb2.CollectionItem]:
        """What a plan looked at, at most a page."""
        listed = await self.retention.ListCollectionItems(
            retention_service_pb2.ListCollectionItemsRequest(
                parent=plan, filter=filter_, page_size=1000
            ),
            timeout=TIMEOUT_S,
        )
        return list(listed.items)


@asynccontextmanager
async def running_registry(
    data_dir: Path, *, now: Clock = utc_now, **settings: Any
) -> AsyncIterator[RegistryCaller]:
    """A registry in this process, on a free port."""
    chosen = RegistrySettings(
        listen="127.0.0.1:0",
        metrics_listen="127.0.0.1:0",
        data_dir=data_dir,
        drain_timeout_s=1.0,
        **settings,
    )
    async with registry(chosen, now) as server:
        server.set_serving()
        async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
            caller = RegistryCaller(channel)
            caller.address = f"127.0.0.1:{server.port}"
            yield caller
