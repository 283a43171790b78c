"""`roundhouse.registry.v1.ModelService`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import replace
from typing import Any, TypeAlias

import grpc
from google.protobuf.empty_pb2 import Empty
from roundhouse.registry.v1 import model_pb2 as pb
from roundhouse.registry.v1 import model_service_pb2 as service_pb
from roundhouse.registry.v1 import model_service_pb2_grpc as pb_grpc

from services.common.rpc.inputs import check_settable, masked, page_query
from services.registry.api.artifacts import Artifacts
from services.registry.api.convert.models import (
    accountability_from_proto,
    alias_to_proto,
    ancestry_from_proto,
    model_to_proto,
    move_to_proto,
    order_from_proto,
    version_to_proto,
)
from services.registry.api.convert.policies import policy_from_proto
from services.registry.api.convert.retention import retention_from_proto
from services.registry.api.inputs import child_name
from services.registry.api.integrity import Integrity
from services.registry.api.presigned import PresignedFiles
from services.registry.api.transactions import Transactions
from services.registry.core.aliases import Alias
from services.registry.core.models import Accountability, Model
from services.registry.core.names import PROJECT, id_of, parent_of
from services.registry.core.ports import RegistryLists, RegistryTx
from services.registry.core.retention.policy import RetentionChange
from services.registry.core.use_cases import models, versions
from services.registry.core.use_cases.aliases import move_aliases
from services.registry.core.use_cases.lookup import the_alias, the_model
from services.registry.core.versions import ModelVersion

_Context: TypeAlias = grpc.aio.ServicerContext[Any, Any]  # generic over every method's messages

_ACCOUNTABILITY = ("owner", "runbook_uri", "monthly_budget", "first_version_has_no_rollback")
_CHANGEABLE_OF_MODEL = (
    *("description", "labels", "promotion_policy", "retention_policy"),
    *_ACCOUNTABILITY,
)
_SETTABLE_OF_VERSION = ("labels", "training_job", "snapshots", "parent_version")


class ModelServicer(pb_grpc.ModelServiceServicer):
    """Models, versions and aliases over gRPC.

    Args:
        transactions: The registry's.
        artifacts: Moves bytes in and out of versions.
        presigned: Gives leave to move them past the registry.
        integrity: Reads committed versions again.
    """

    def __init__(
        self,
        transactions: Transactions,
        artifacts: Artifacts,
        presigned: PresignedFiles,
        integrity: Integrity,
    ) -> None:
        self._transactions = transactions
        self._artifacts = artifacts
        self._presigned = presigned
        self._integrity = integrity

    async def CreateModel(self, request: service_pb.CreateModelRequest, _: _Context) -> pb.Model:
        """A new model without versions."""
        check_settable(request.model, "model", _CHANGEABLE_OF_MODEL)
        name = child_name(request.parent, "models", request.model_id)
        return await self._transactions.mutate(
            request,
            pb.Model,
            lambda tx: model_to_proto(
                models.create_model(
                    tx,
                    name,
                    description=request.model.description,
                    labels=dict(request.model.labels),
                    policy=policy_from_proto(request.model.promotion_policy),
                    accountability=accountability_from_proto(request.model),
                    retention=retention_from_proto(request.model.retention_policy),
                )
            ),
        )

    async def GetModel(self, request: service_pb.GetModelRequest, _: _Context) -> pb.Model:
        """One model."""
        return await self._transactions.read(lambda tx: model_to_proto(the_model(tx, request.name)))

    async def ListModels(
        self, request: service_pb.ListModelsRequest, _: _Context
    ) -> service_pb.ListModelsResponse:
        """A page of a project's models."""
        query = page_query(request, PROJECT)
        page = await self._transactions.read_lists(lambda _, lists: lists.models(query))
        return service_pb.ListModelsResponse(
            models=[model_to_proto(model) for model in page.items],
            next_page_token=page.next_page_token,
        )

    async def UpdateModel(self, request: service_pb.UpdateModelRequest, _: _Context) -> pb.Model:
        """The model, changed."""
        picked = masked(request.update_mask.paths, _CHANGEABLE_OF_MODEL)
        wanted = request.model
        policy = policy_from_proto(wanted.promotion_policy)
        change = models.ModelChange(
            description=wanted.description if "description" in picked else None,
            labels=dict(wanted.labels) if "labels" in picked else None,
            policy=policy if "promotion_policy" in picked else None,
            accountability=_changed_accountability(wanted, picked),
            retention=(
                RetentionChange(retention_from_proto(wanted.retention_policy))
                if "retention_policy" in picked
                else None
            ),
        )
        return await self._transactions.mutate(
            request,
            pb.Model,
            lambda tx: model_to_proto(
                models.update_model(tx, wanted.name, change, etag=wanted.etag)
            ),
        )

    async def DeleteModel(self, request: service_pb.DeleteModelRequest, _: _Context) -> Empty:
        """Nothing, once the model is forgotten."""

        def delete(tx: RegistryTx) -> Empty:
            models.delete_model(tx, request.name, etag=request.etag)
            return Empty()

        return await self._transactions.mutate(request, Empty, delete)

    async def BeginVersionUpload(
        self, request: service_pb.BeginVersionUploadRequest, _: _Context
    ) -> pb.ModelVersion:
        """The model's next version, open for files."""
        check_settable(request.version, "version", _SETTABLE_OF_VERSION)
        return await self._transactions.mutate(
            request,
            pb.ModelVersion,
            lambda tx: version_to_proto(
                versions.begin_upload(
                    tx,
                    request.parent,
                    ancestry_from_proto(request.version),
                    labels=dict(request.version.labels),
                ),
                (),
            ),
        )

    async def UploadArtifact(
        self, parts: AsyncIterator[service_pb.UploadArtifactRequest], _: _Context
    ) -> pb.ArtifactFile:
        """The file, once it is durable."""
        return await self._artifacts.upload(parts)

    async def GetUploadProgress(
        self, request: service_pb.GetUploadProgressRequest, _: _Context
    ) -> service_pb.UploadProgress:
        """How much of a file has arrived."""
        return await self._artifacts.progress(request)

    async def CreateUploadUrls(
        self, request: service_pb.CreateUploadUrlsRequest, _: _Context
    ) -> service_pb.CreateUploadUrlsResponse:
        """Leave to put files."""
        return await self._presigned.create_upload_urls(request)

    async def CompleteUpload(
        self, request: service_pb.CompleteUploadRequest, _: _Context
    ) -> pb.ArtifactFile:
        """The file that was put, checked."""
        return await self._presigned.complete(request)

    async def CreateDownloadUrls(
        self, request: service_pb.CreateDownloadUrlsRequest, _: _Context
    ) -> service_pb.CreateDownloadUrlsResponse:
        """Leave to read files."""
        return await self._presigned.create_download_urls(request)

    async def CommitVersion(
        self, request: service_pb.CommitVersionRequest, _: _Context
    ) -> pb.ModelVersion:
        """The version, READY."""
        return await self._artifacts.commit(request)

    async def AbortVersionUpload(
        self, request: service_pb.AbortVersionUploadRequest, _: _Context
    ) -> pb.ModelVersion:
        """The version, REJECTED."""
        return await self._transactions.mutate(
            request,
            pb.ModelVersion,
            lambda tx: version_to_proto(versions.abort_upload(tx, request.name), ()),
        )

    async def DeprecateVersion(
        self, request: service_pb.DeprecateVersionRequest, _: _Context
    ) -> pb.ModelVersion:
        """The version, DEPRECATED."""
        return await self._transactions.mutate(
            request,
            pb.ModelVersion,
            lambda tx: version_to_proto(
                versions.deprecate_version(tx, request.name, etag=request.etag), ()
            ),
        )

    async def GetVersion(
        self, request: service_pb.GetVersionRequest, _: _Context
    ) -> pb.ModelVersion:
        """One version, by its own name or an alias's."""
        return await self._transactions.read(
            lambda tx: _with_aliases(tx, versions.resolve_version(tx, request.name))
        )

    async def ListVersions(
        self, request: service_pb.ListVersionsRequest, _: _Context
    ) -> service_pb.ListVersionsResponse:
        """A page of a model's versions."""
        query = page_query(request)

        def listed(tx: RegistryTx, lists: RegistryLists) -> service_pb.ListVersionsResponse:
            the_model(tx, request.parent, "parent")
            page = lists.versions(query)
            names = [version.meta.name for version in page.items]
            aliases, verified = tx.aliases_at(names), tx.verified_at(names)
            return service_pb.ListVersionsResponse(
                versions=[
                    version_to_proto(version, aliases, verified_at=verified.get(version.meta.name))
                    for version in page.items
                ],
                next_page_token=page.next_page_token,
            )

        return await self._transactions.read_lists(listed)

    async def DownloadArtifact(
        self, request: service_pb.DownloadArtifactRequest, _: _Context
    ) -> AsyncIterator[service_pb.DownloadArtifactResponse]:
        """One file's bytes."""
        async with aclosing(self._artifacts.download(request)) as chunks:
            async for chunk in chunks:
                yield service_pb.DownloadArtifactResponse(chunk=chunk)

    async def VerifyVersion(
        self, request: service_pb.VerifyVersionRequest, _: _Context
    ) -> service_pb.VerifyVersionResponse:
        """What reading the version's bytes gave."""
        return await self._integrity.verify(request)

    async def RepairArtifact(
        self, parts: AsyncIterator[service_pb.RepairArtifactRequest], _: _Context
    ) -> pb.ArtifactFile:
        """The file, once its bytes are stored again."""
        return await self._integrity.repair(parts)

    async def RestoreVersion(
        self, request: service_pb.RestoreVersionRequest, _: _Context
    ) -> pb.ModelVersion:
        """The version, out of quarantine."""
        return await self._integrity.restore(request)

    async def MoveAliases(
        self, request: service_pb.MoveAliasesRequest, _: _Context
    ) -> service_pb.MoveAliasesResponse:
        """The aliases after the moves."""
        orders = [order_from_proto(move) for move in request.moves]

        def move(tx: RegistryTx) -> service_pb.MoveAliasesResponse:
            moved = move_aliases(tx, orders, actor=request.actor, reason=request.reason)
            model = the_model(tx, parent_of(moved[0].meta.name))
            return service_pb.MoveAliasesResponse(
                aliases=[_with_protection(model, alias) for alias in moved]
            )

        return await self._transactions.mutate(request, service_pb.MoveAliasesResponse, move)

    async def GetAlias(self, request: service_pb.GetAliasRequest, _: _Context) -> pb.Alias:
        """One alias."""

        def found(tx: RegistryTx) -> pb.Alias:
            alias = the_alias(tx, request.name)
            return _with_protection(the_model(tx, parent_of(alias.meta.name)), alias)

        return await self._transactions.read(found)

    async def ListAliases(
        self, request: service_pb.ListAliasesRequest, _: _Context
    ) -> service_pb.ListAliasesResponse:
        """A page of a model's aliases."""
        query = page_query(request)

        def listed(tx: RegistryTx, lists: RegistryLists) -> service_pb.ListAliasesResponse:
            model = the_model(tx, request.parent, "parent")
            page = lists.aliases(query)
            return service_pb.ListAliasesResponse(
                aliases=[_with_protection(model, alias) for alias in page.items],
                next_page_token=page.next_page_token,
            )

        return await self._transactions.read_lists(listed)

    async def ListAliasMoves(
        self, request: service_pb.ListAliasMovesRequest, _: _Context
    ) -> service_pb.ListAliasMovesResponse:
        """A page of the past moves of a model's aliases."""
        query = page_query(request)

        def listed(tx: RegistryTx, lists: RegistryLists) -> service_pb.ListAliasMovesResponse:
            the_model(tx, request.parent, "parent")
            page = lists.alias_moves(query)
            return service_pb.ListAliasMovesResponse(
                moves=[move_to_proto(move) for move in page.items],
                next_page_token=page.next_page_token,
            )

        return await self._transactions.read_lists(listed)


def _changed_accountability(
    wanted: pb.Model, picked: frozenset[str]
) -> Callable[[Accountability], Accountability]:
    given = accountability_from_proto(wanted)
    changes = {field: getattr(given, field) for field in _ACCOUNTABILITY if field in picked}
    return lambda before: replace(before, **changes)


def _with_aliases(tx: RegistryTx, version: ModelVersion) -> pb.ModelVersion:
    name = version.meta.name
    return version_to_proto(
        version,
        tx.aliases_at([name]),
        verified_at=tx.verified_at([name]).get(name),
    )


def _with_protection(model: Model, alias: Alias) -> pb.Alias:
    return alias_to_proto(alias, id_of(alias.meta.name) in model.policy.protected_aliases)
