"""The cycle that is measured: create a version, point an alias at one, resolve the alias.

Each contender says what a step of it is, in its own words over the wire.
"""

from __future__ import annotations

import http.client
import json
import socket
import time
import uuid
from collections.abc import Mapping
from typing import Any, Final, Protocol
from urllib.parse import quote

import grpc
from roundhouse.registry.v1 import model_pb2
from roundhouse.registry.v1 import model_service_pb2 as pb
from roundhouse.registry.v1 import model_service_pb2_grpc as pb_grpc

from tests.support.calls import PROJECT
from tests.support.registry_api import BUNDLE, MANIFEST, digest_of, manifest_of

CALL_S: Final = 30.0
_MLFLOW_TRIES: Final = 10
_MLFLOW_PAUSE_S: Final = 1.0
MODEL: Final = "measured"
FILES: Final[Mapping[str, bytes]] = {**BUNDLE, MANIFEST: manifest_of(BUNDLE)}
"""What a version with files holds: 2 kB of model, its signature and its manifest."""


class Cycle(Protocol):
    """One caller's steps; each returns once the server has acknowledged it."""

    def create(self) -> str:
        """A new version's metadata."""
        ...

    def create_with_files(self) -> str:
        """A new version with its three files, ready to be served."""
        ...

    def move(self, version: str) -> None:
        """The caller's own alias points at `version`."""
        ...

    def resolve(self) -> str:
        """The version that the alias points at, with its metadata."""
        ...


class RoundhouseCycle:
    """Over gRPC.

    `create` is BeginVersionUpload: one commit of the version, its event and the answer to its
    request id. `create_with_files` is that, an UploadArtifact for each file (hashed and flushed
    to the blob store) and CommitVersion, which reads every byte again and compares the manifest.
    `move` is MoveAliases with the expected version: the alias, its history, the lineage, the
    event and the answer in one commit. `resolve` is GetVersion by the alias.

    Args:
        address: `host:port` of the registry.
        caller: Number of the caller; names its alias.
    """

    def __init__(self, address: str, caller: int) -> None:
        own_connection = [("grpc.use_local_subchannel_pool", 1)]
        self._models = pb_grpc.ModelServiceStub(grpc.insecure_channel(address, own_connection))
        self._model = f"{PROJECT}/models/{MODEL}"
        self._alias = f"{self._model}/aliases/alias-{caller}-{uuid.uuid4().hex[:8]}"
        self._at = ""

    @staticmethod
    def prepare(address: str) -> None:
        """Make the model."""
        with grpc.insecure_channel(address) as channel:
            pb_grpc.ModelServiceStub(channel).CreateModel(
                pb.CreateModelRequest(
                    parent=PROJECT, model_id=MODEL, model=model_pb2.Model(), request_id=_id()
                ),
                timeout=CALL_S,
            )

    def create(self) -> str:
        """See `Cycle`."""
        request = pb.BeginVersionUploadRequest(
            parent=self._model, version=model_pb2.ModelVersion(), request_id=_id()
        )
        return self._models.BeginVersionUpload(request, timeout=CALL_S).name

    def create_with_files(self) -> str:
        """See `Cycle`."""
        version = self.create()
        for path, data in FILES.items():
            header = pb.UploadArtifactRequest.Header(
                version=version, path=path, digest=digest_of(data), request_id=_id()
            )
            parts = [pb.UploadArtifactRequest(header=header), pb.UploadArtifactRequest(chunk=data)]
            self._models.UploadArtifact(iter(parts), timeout=CALL_S)
        request = pb.CommitVersionRequest(
            name=version, manifest_digest=digest_of(FILES[MANIFEST]), request_id=_id()
        )
        return self._models.CommitVersion(request, timeout=CALL_S).name

    def move(self, version: str) -> None:
        """See `Cycle`."""
        move = pb.MoveAliasesRequest.Move(
            alias=self._alias, to_version=version, expected_version=self._at
        )
        request = pb.MoveAliasesRequest(
            moves=[move], actor="benchmark", reason="measured", request_id=_id()
        )
        self._models.MoveAliases(request, timeout=CALL_S)
        self._at = version

    def resolve(self) -> str:
        """See `Cycle`."""
        return self._models.GetVersion(pb.GetVersionRequest(name=self._alias), timeout=CALL_S).name


class MlflowCycle:
    """Over its REST API, without MLflow's own client, which costs more than the calls.

    `create` is model-versions/create with a source that nobody looks at: one commit of the
    version. `create_with_files` is a PUT of each file through MLflow's artifact proxy to its
    folder (neither hashed nor flushed) and that. `move` is registered-models/alias: one commit
    of the alias. `resolve` is GET registered-models/alias.

    Args:
        address: `host:port` of the server.
        caller: Number of the caller; names its alias.
    """

    def __init__(self, address: str, caller: int) -> None:
        self._connection = http.client.HTTPConnection(address, timeout=CALL_S)
        self._alias = f"alias-{caller}-{uuid.uuid4().hex[:8]}"
        run = self._call("POST", "mlflow/runs/create", {"experiment_id": "0"})["run"]["info"]
        self._run, self._root = run["run_id"], run["artifact_uri"]
        self._created = 0

    @staticmethod
    def prepare(address: str) -> None:
        """Make the model."""
        _mlflow_call(
            http.client.HTTPConnection(address, timeout=CALL_S),
            "POST",
            "mlflow/registered-models/create",
            json.dumps({"name": MODEL}).encode(),
        )

    def create(self) -> str:
        """See `Cycle`."""
        return self._create({"source": "s3://bucket/model"})

    def create_with_files(self) -> str:
        """See `Cycle`."""
        self._created += 1
        source = f"{self._root}/model-{self._created}"
        folder = source.removeprefix("mlflow-artifacts:/")
        for path, data in FILES.items():
            target = f"mlflow-artifacts/artifacts/{folder}/{path}"
            _mlflow_call(self._connection, "PUT", target, data)
        return self._create({"source": source, "run_id": self._run})

    def move(self, version: str) -> None:
        """See `Cycle`."""
        self._call(
            "POST",
            "mlflow/registered-models/alias",
            {"name": MODEL, "alias": self._alias, "version": version},
        )

    def resolve(self) -> str:
        """See `Cycle`."""
        query = f"name={quote(MODEL)}&alias={quote(self._alias)}"
        answer = _mlflow_call(
            self._connection, "GET", f"mlflow/registered-models/alias?{query}", None
        )
        return str(answer["model_version"]["version"])

    def _create(self, fields: Mapping[str, str]) -> str:
        answer = self._call("POST", "mlflow/model-versions/create", {"name": MODEL, **fields})
        return str(answer["model_version"]["version"])

    def _call(self, method: str, path: str, body: Mapping[str, str]) -> Any:
        return _mlflow_call(self._connection, method, path, json.dumps(body).encode())


def _mlflow_call(
    connection: http.client.HTTPConnection, method: str, path: str, body: bytes | None
) -> Any:  # JSON
    headers = {} if method == "PUT" else {"Content-Type": "application/json"}
    for _ in range(_MLFLOW_TRIES):
        try:
            if connection.sock is None:
                connection.connect()
            # Its server sends an answer in two parts and would wait 40 ms for our acknowledgement.
            connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
            connection.request(method, f"/api/2.0/{path}", body, headers)
            answer = connection.getresponse()
            content = answer.read()
            break
        except ConnectionError:
            # Its supervisor restarts workers that import too slowly, with their connections.
            connection.close()
            time.sleep(_MLFLOW_PAUSE_S)
    else:
        raise RuntimeError(f"{method} {path}: MLflow went away {_MLFLOW_TRIES} times")
    if answer.status != http.client.OK:
        raise RuntimeError(f"{method} {path}: {answer.status} {content[:300]!r}")
    return json.loads(content or b"{}")


def _id() -> str:
    return str(uuid.uuid4())
