"""The registry over gRPC: bundles, approvals and aliases."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from typing import Final

import grpc
import structlog
from roundhouse.registry.v1 import evaluation_service_pb2 as evaluations
from roundhouse.registry.v1 import evaluation_service_pb2_grpc as evaluations_grpc
from roundhouse.registry.v1 import lineage_service_pb2 as lineage
from roundhouse.registry.v1 import lineage_service_pb2_grpc as lineage_grpc
from roundhouse.registry.v1 import model_pb2 as model_pb
from roundhouse.registry.v1 import model_service_pb2 as models
from roundhouse.registry.v1 import model_service_pb2_grpc as models_grpc

from services.common.errors import ServiceError
from services.common.rpc.convert import to_timestamp
from services.common.rpc.pins import RegistryPins, Reliance
from services.common.rpc.remote import (
    DependencyUnavailable,
    RemoteError,
    as_own_failure,
    remote_errors,
)
from services.inference.core.errors import (
    AliasElsewhere,
    VersionNotApproved,
    VersionNotServable,
)
from services.inference.core.telling import Report, Turn

log = structlog.get_logger()

_REGISTRY: Final = "registry"
_ACTOR: Final = "inference"
_REFUSALS: Final = frozenset(
    {
        grpc.StatusCode.NOT_FOUND,
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.FAILED_PRECONDITION,
        grpc.StatusCode.PERMISSION_DENIED,
    }
)
_TURNS: Final = {
    Turn.ROLLING_OUT: lineage.Deployment.STATE_ROLLING_OUT,
    Turn.SUCCEEDED: lineage.Deployment.STATE_SUCCEEDED,
    Turn.ROLLED_BACK: lineage.Deployment.STATE_ROLLED_BACK,
    Turn.CANCELLED: lineage.Deployment.STATE_CANCELLED,
    Turn.FAILED: lineage.Deployment.STATE_FAILED,
    Turn.DELETED: lineage.Deployment.STATE_DELETED,
}


class RegistryClient:
    """Implements `BundleSource`, `VersionCatalog` and `Registrar`.

    Args:
        channel: To the registry.
        pins: Of this service's endpoints.
    """

    def __init__(self, channel: grpc.aio.Channel, pins: RegistryPins) -> None:
        self._pins = pins
        self._models = models_grpc.ModelServiceStub(channel)
        self._evaluations = evaluations_grpc.EvaluationServiceStub(channel)
        self._lineage = lineage_grpc.LineageServiceStub(channel)

    async def read(self, version: str, path: str) -> AsyncIterator[bytes]:
        """See `BundleSource`."""
        request = models.DownloadArtifactRequest(version=version, path=path)
        try:
            with remote_errors(_REGISTRY):
                async for part in self._models.DownloadArtifact(request):
                    yield part.chunk
        except RemoteError as error:
            raise _load_failure(version, error, path) from error

    async def signature_of(self, version: str) -> bytes | None:
        """See `BundleSource`."""
        found = await self._version(version)
        if not found.HasField("signature"):
            return None
        parts = [part async for part in self.read(version, found.signature.path)]
        return b"".join(parts)

    async def digest_of(self, version: str) -> str:
        """See `VersionCatalog`."""
        found = await self._version(version)
        if found.state != model_pb.ModelVersion.STATE_READY:
            state = model_pb.ModelVersion.State.Name(found.state).removeprefix("STATE_")
            raise VersionNotServable(version, f"it is {state}, not READY")
        return found.digest

    async def check_approval(
        self, approval: str, version: str, *, digest: str, plan_digest: str
    ) -> None:
        """See `VersionCatalog`."""
        request = evaluations.CheckApprovalRequest(
            name=approval, version=version, artifact_digest=digest, plan_digest=plan_digest
        )
        try:
            with remote_errors(_REGISTRY):
                await self._evaluations.CheckApproval(request)
        except RemoteError as error:
            if error.code in _REFUSALS:
                raise VersionNotApproved(
                    version, approval, error.message, cause=error.reason
                ) from error
            raise

    async def pin(self, endpoint: str, version: str) -> None:
        """See `VersionCatalog`."""
        try:
            await self._pins.pin(Reliance(endpoint, version))
        except RemoteError as error:
            raise _load_failure(version, error) from error

    async def move_alias(
        self, alias: str, to_version: str, *, expected: str, plan_digest: str, reason: str
    ) -> None:
        """See `VersionCatalog`."""
        current = await self._alias(alias)
        if current == to_version:
            return
        if current not in ("", expected):
            raise AliasElsewhere(alias, current)
        move = models.MoveAliasesRequest.Move(
            alias=alias,
            to_version=to_version,
            expected_version=current,
            plan_digest=plan_digest,
        )
        # Derived, so that a controller that died before it heard the answer repeats itself.
        request_id = str(uuid.uuid5(uuid.NAMESPACE_URL, f"{reason}|{alias}|{to_version}"))
        request = models.MoveAliasesRequest(
            moves=[move], actor=_ACTOR, reason=reason, request_id=request_id
        )
        try:
            with remote_errors(_REGISTRY):
                await self._models.MoveAliases(request)
        except RemoteError as error:
            if error.code is grpc.StatusCode.FAILED_PRECONDITION:
                raise VersionNotApproved(
                    to_version, "", error.message, cause=error.reason
                ) from error
            raise _passing_failure(error) from error

    async def record_deployment(self, report: Report) -> None:
        """See `Registrar`."""
        deployment = lineage.Deployment(
            endpoint=report.endpoint,
            rollout=report.rollout,
            version=report.version,
            approval=report.approval,
            state=_TURNS[report.turn],
            time=to_timestamp(report.time),
            message=report.message,
        )
        try:
            with remote_errors(_REGISTRY):
                await self._lineage.RecordDeployment(
                    lineage.RecordDeploymentRequest(
                        deployment=deployment, request_id=report.request_id
                    )
                )
        except RemoteError as error:
            if error.code not in (grpc.StatusCode.NOT_FOUND, grpc.StatusCode.INVALID_ARGUMENT):
                raise _passing_failure(error) from error
            log.error(  # noqa: TRY400 - a person is needed, a trace is not
                "deployment.refused",
                endpoint=report.endpoint,
                version=report.version,
                reason=error.reason,
            )

    async def _version(self, version: str) -> model_pb.ModelVersion:
        try:
            with remote_errors(_REGISTRY):
                return await self._models.GetVersion(models.GetVersionRequest(name=version))
        except RemoteError as error:
            raise _load_failure(version, error) from error

    async def _alias(self, alias: str) -> str:
        """The version that the alias points at; '' if it does not exist."""
        try:
            with remote_errors(_REGISTRY):
                found = await self._models.GetAlias(models.GetAliasRequest(name=alias))
        except RemoteError as error:
            if error.code is grpc.StatusCode.NOT_FOUND:
                return ""
            raise _passing_failure(error) from error
        return found.version


def _load_failure(version: str, error: RemoteError, path: str = "") -> ServiceError:
    if error.code in (
        grpc.StatusCode.NOT_FOUND,
        grpc.StatusCode.FAILED_PRECONDITION,
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.DATA_LOSS,
    ):
        told = f"the registry says {error.reason}: {error.message}"
        return VersionNotServable(version, f"{path}: {told}" if path else told)
    return _passing_failure(error)


def _passing_failure(error: RemoteError) -> ServiceError:
    return as_own_failure(error) or DependencyUnavailable(error.peer)
