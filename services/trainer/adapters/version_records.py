"""What the registry still has of a version that a job has made."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

import grpc
import structlog
from roundhouse.registry.v1 import model_pb2

from services.common.rpc.remote import DependencyUnavailable, RemoteError
from services.trainer.adapters.learned_until import TRAINING_FILE
from services.trainer.adapters.registry_client import RegistryClient
from services.trainer.core.comparing import MadeWith
from services.trainer.core.failures import DataFault, DependencyAway

log = structlog.get_logger()

GRAPH_FILE: Final = "model.onnx"
_GONE: Final = frozenset(
    {
        grpc.StatusCode.NOT_FOUND,
        grpc.StatusCode.FAILED_PRECONDITION,
        grpc.StatusCode.DATA_LOSS,
    }
)


class RegistryVersionRecords:
    """The port `VersionRecords`.

    Args:
        registry: That has the versions.
    """

    def __init__(self, registry: RegistryClient) -> None:
        self._registry = registry

    async def made_with(self, version: str) -> MadeWith | None:
        """What a version was made with; None where it, or what it says, is gone.

        Raises:
            DependencyUnavailable: The registry does not answer.
        """
        try:
            found = await kept_version(self._registry, version)
            training = await kept_file(self._registry, found, TRAINING_FILE)
        except DependencyAway as error:
            raise DependencyUnavailable("registry") from error
        return None if training is None else made_with(json.loads(training))


async def kept_version(registry: RegistryClient, name: str) -> model_pb2.ModelVersion | None:
    """A version; None where it is gone.

    Raises:
        DependencyAway: The registry does not answer.
    """
    try:
        return await registry.version(name)
    except RemoteError as error:
        if error.code not in _GONE:
            raise
        log.info("version.gone", version=name, cause=error.message)
        return None


async def kept_file(
    registry: RegistryClient, version: model_pb2.ModelVersion | None, path: str
) -> bytes | None:
    """The bytes of one file of a version; None where they are gone or damaged.

    Raises:
        DependencyAway: The registry does not answer.
    """
    if version is None:
        return None
    try:
        return await registry.artifact(version, path)
    except DataFault as fault:
        log.info("version.unreadable", version=version.name, path=path, cause=str(fault))
    except RemoteError as error:
        if error.code not in _GONE:
            raise
        log.info("version.unreadable", version=version.name, path=path, cause=error.message)
    return None


def graph_digest(version: model_pb2.ModelVersion | None) -> str | None:
    """The digest of a version's graph; None where that is gone."""
    if version is None:
        return None
    return next((file.digest for file in version.files if file.path == GRAPH_FILE), None)


def made_with(training: Mapping[str, Any]) -> MadeWith:
    """What `training.json` says of how its version was made."""
    winner, environment = training["winner"], training["environment"]
    commit, encoder = training.get("code_commit"), training.get("encoder")
    return MadeWith(
        snapshot=training["snapshots"][0]["digest"],
        split=training["split"]["digest"],
        threads=environment["threads"],
        algorithm=winner["algorithm"],
        package=winner["package"],
        environment={
            "python": environment["python"],
            "platform": environment["platform"],
            "threads": str(environment["threads"]),
            "recipe": winner["package"],
            **({} if commit is None else {"code_commit": commit}),
            **({} if encoder is None else {f"encoder {encoder['name']}": encoder["digest"]}),
            **environment["packages"],
        },
    )
