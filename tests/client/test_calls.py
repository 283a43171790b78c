"""Deadlines, request ids, repeats and typed errors, against a real server that misbehaves."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterator
from concurrent import futures
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import pytest
from google.protobuf.any_pb2 import Any as Packed
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, PreconditionFailure, RetryInfo
from google.rpc.status_pb2 import Status
from roundhouse.client import Addresses, AsyncClient, Client, DigestMismatch, Timeouts
from roundhouse.client.errors import (
    DeadlineExceeded,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    ServerFault,
    Unavailable,
)
from roundhouse.common.v1.events_pb2 import Event, WatchEventsRequest, WatchEventsResponse
from roundhouse.common.v1.events_pb2_grpc import (
    EventServiceServicer,
    add_EventServiceServicer_to_server,
)
from roundhouse.registry.v1.model_pb2 import ArtifactFile, Model, ModelVersion
from roundhouse.registry.v1.model_service_pb2 import (
    CreateModelRequest,
    DeleteModelRequest,
    DownloadArtifactResponse,
    GetModelRequest,
    ListModelsRequest,
    UploadArtifactRequest,
)
from roundhouse.registry.v1.model_service_pb2_grpc import (
    ModelServiceServicer,
    add_ModelServiceServicer_to_server,
)

PATIENT = Timeouts(unary_s=5.0, away_s=5.0)
HELLO = b"hello, artifact"
HELLO_DIGEST = f"sha256:{hashlib.sha256(HELLO).hexdigest()}"


@dataclass
class Away:
    """A registry that is away a few times before it answers, and remembers what it was asked."""

    away: int = 0
    status: Status | None = None
    request_ids: list[str] = field(default_factory=list)
    remaining_s: list[float | None] = field(default_factory=list)
    uploaded: list[UploadArtifactRequest] = field(default_factory=list)
    cursors: list[str] = field(default_factory=list)

    def answer(self, context: grpc.ServicerContext) -> None:
        self.remaining_s.append(context.time_remaining())
        if self.status is not None:
            details = ("grpc-status-details-bin", self.status.SerializeToString())
            context.set_trailing_metadata((details,))
            code = next(each for each in grpc.StatusCode if each.value[0] == self.status.code)
            context.abort(code, self.status.message)
        if self.away:
            self.away -= 1
            context.abort(grpc.StatusCode.UNAVAILABLE, "away")


class Models(ModelServiceServicer):
    def __init__(self, script: Away) -> None:
        self.script = script

    def CreateModel(self, request, context):
        self.script.request_ids.append(request.request_id)
        self.script.answer(context)
        return Model(name="projects/p/models/m")

    def GetModel(self, request, context):
        self.script.answer(context)
        return Model(name=request.name)

    def ListModels(self, request, context):
        self.script.answer(context)
        context.abort(grpc.StatusCode.NOT_FOUND, "no details")

    def GetVersion(self, request, context):
        file = ArtifactFile(path="model.onnx", digest=HELLO_DIGEST, size_bytes=len(HELLO))
        return ModelVersion(name=request.name, files=[file])

    def DownloadArtifact(self, request, context):
        damaged = request.version.endswith("/2")
        yield DownloadArtifactResponse(chunk=HELLO[:5])
        yield DownloadArtifactResponse(chunk=b"!" if damaged else HELLO[5:])

    def UploadArtifact(self, request_iterator, context):
        self.script.uploaded.extend(request_iterator)
        self.script.answer(context)
        return ArtifactFile(path="model.onnx")


class Events(EventServiceServicer):
    """Three events; the stream breaks after each."""

    def __init__(self, script: Away) -> None:
        self.script = script

    def WatchEvents(self, request, context):
        self.script.cursors.append(request.cursor)
        position = int(request.cursor or 0)
        if position == 3:
            return
        cursor = str(position + 1)
        yield WatchEventsResponse(event=Event(id=f"event-{cursor}", cursor=cursor))
        context.abort(grpc.StatusCode.UNAVAILABLE, "draining")


@pytest.fixture
def script() -> Away:
    return Away()


@pytest.fixture
def addresses(script: Away) -> Iterator[Addresses]:
    server = grpc.server(futures.ThreadPoolExecutor(4))
    add_ModelServiceServicer_to_server(Models(script), server)
    add_EventServiceServicer_to_server(Events(script), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield Addresses(registry=f"127.0.0.1:{port}")
    server.stop(0).wait()


@pytest.fixture(params=["sync", "aio"])
def call(request: pytest.FixtureRequest, addresses: Addresses):
    """Runs `work(client)` on either client; with asyncio the result is awaited."""

    def run(work, timeouts: Timeouts = PATIENT):
        if request.param == "sync":
            with Client(addresses, timeouts=timeouts) as client:
                return work(client)

        async def on_loop():
            async with AsyncClient(addresses, timeouts=timeouts) as client:
                return await work(client)

        return asyncio.run(on_loop())

    return run


def packed(detail: Message) -> Packed:
    box = Packed()
    box.Pack(detail)
    return box


def test_a_mutation_is_repeated_with_the_same_request_id_while_the_service_is_away(
    call, script: Away
) -> None:
    script.away = 2
    request = CreateModelRequest(parent="projects/p", model_id="m", model=Model())
    assert call(lambda client: client.models.CreateModel(request)).name == "projects/p/models/m"
    assert len(script.request_ids) == 3
    assert len(set(script.request_ids)) == 1
    assert not request.request_id


def test_two_calls_with_one_message_have_two_request_ids(call, script: Away) -> None:
    request = CreateModelRequest(parent="projects/p", model_id="m", model=Model())
    call(lambda client: client.models.CreateModel(request))
    call(lambda client: client.models.CreateModel(request))
    assert len(set(script.request_ids)) == 2


def test_a_given_request_id_is_kept(call, script: Away) -> None:
    request = CreateModelRequest(parent="projects/p", request_id="mine")
    call(lambda client: client.models.CreateModel(request))
    assert script.request_ids == ["mine"]


def test_a_read_is_repeated_while_the_service_is_away(call, script: Away) -> None:
    script.away = 1
    request = GetModelRequest(name="m")
    assert call(lambda client: client.models.GetModel(request)).name == "m"


def test_a_service_that_stays_away_is_unavailable(call, script: Away) -> None:
    script.away = 10_000
    with pytest.raises(Unavailable):
        call(
            lambda client: client.models.GetModel(GetModelRequest(name="m")),
            Timeouts(unary_s=5.0, away_s=0.3),
        )
    assert len(script.remaining_s) > 1


def test_every_unary_call_has_a_deadline(call, script: Away) -> None:
    call(lambda client: client.models.GetModel(GetModelRequest(name="m")))
    call(lambda client: client.models.GetModel(GetModelRequest(name="m"), timeout=1.0))
    by_default, given = script.remaining_s
    assert by_default is not None
    assert given is not None
    assert given < 2.0 < by_default < 6.0


def test_an_error_has_its_reason_its_metadata_and_its_fields(call, script: Away) -> None:
    script.status = Status(code=grpc.StatusCode.INVALID_ARGUMENT.value[0], message="wrong")
    script.status.details.extend(
        [
            packed(
                ErrorInfo(reason="INVALID_REQUEST", domain="registry.x", metadata={"name": "m"})
            ),
            packed(
                BadRequest(
                    field_violations=[BadRequest.FieldViolation(field="model_id", description="no")]
                )
            ),
        ]
    )
    with pytest.raises(InvalidArgument) as caught:
        call(lambda client: client.models.CreateModel(CreateModelRequest()))
    assert caught.value.code is grpc.StatusCode.INVALID_ARGUMENT
    assert caught.value.reason == "INVALID_REQUEST"
    assert caught.value.metadata == {"name": "m"}
    (violation,) = caught.value.failure.field_violations
    assert (violation.field, violation.description) == ("model_id", "no")
    assert isinstance(caught.value.__cause__, grpc.RpcError)
    assert len(script.remaining_s) == 1


def test_a_refusal_has_its_conditions_and_when_to_come_back(call, script: Away) -> None:
    script.status = Status(code=grpc.StatusCode.FAILED_PRECONDITION.value[0], message="not now")
    violation = PreconditionFailure.Violation(type="GATE", subject="v", description="auc is low")
    script.status.details.extend(
        [
            packed(PreconditionFailure(violations=[violation])),
            packed(RetryInfo(retry_delay=Duration(seconds=2))),
        ]
    )
    with pytest.raises(FailedPrecondition) as caught:
        call(lambda client: client.models.GetModel(GetModelRequest(name="m")))
    (condition,) = caught.value.failure.precondition_violations
    assert condition.description == "auc is low"
    assert caught.value.failure.retry_after_s == 2.0


def test_an_error_without_details_still_has_its_type(call) -> None:
    with pytest.raises(NotFound) as caught:
        call(lambda client: client.models.ListModels(ListModelsRequest()))
    assert caught.value.reason == ""


def test_an_unknown_method_is_a_fault_of_the_server(call) -> None:
    with pytest.raises(ServerFault):
        call(lambda client: client.models.DeleteModel(DeleteModelRequest()))


def test_a_passed_deadline_is_typed(call, script: Away) -> None:
    script.away = 10_000
    with pytest.raises((DeadlineExceeded, Unavailable)):
        call(lambda client: client.models.GetModel(GetModelRequest(name="m"), timeout=0.2))


def test_an_event_stream_goes_on_from_its_cursor_when_it_breaks(
    addresses: Addresses, script: Away
) -> None:
    with Client(addresses, timeouts=PATIENT) as client:
        events = list(client.watch_events("registry", WatchEventsRequest()))
    assert [event.id for event in events] == ["event-1", "event-2", "event-3"]
    assert script.cursors == ["", "1", "2", "3"]


async def test_an_event_stream_goes_on_from_its_cursor_with_asyncio_too(
    addresses: Addresses, script: Away
) -> None:
    async with AsyncClient(addresses, timeouts=PATIENT) as client:
        watched = client.watch_events("registry", WatchEventsRequest(cursor="1"))
        assert [event.id async for event in watched] == ["event-2", "event-3"]
    assert script.cursors == ["1", "2", "3"]


def test_a_download_that_arrives_damaged_is_not_kept(call, tmp_path: Path) -> None:
    with pytest.raises(DigestMismatch) as caught:
        call(lambda client: client.download_version("models/m/versions/2", tmp_path))
    assert caught.value.expected == HELLO_DIGEST
    assert list(tmp_path.iterdir()) == []


def test_a_download_is_kept_when_its_digest_is_right(call, tmp_path: Path) -> None:
    call(lambda client: client.download_version("models/m/versions/1", tmp_path))
    assert (tmp_path / "model.onnx").read_bytes() == HELLO


def test_an_upload_says_its_digest_first(call, script: Away, tmp_path: Path) -> None:
    file = tmp_path / "model.onnx"
    file.write_bytes(HELLO)
    call(lambda client: client.upload_artifact("v", "model.onnx", file))
    header, chunk = script.uploaded
    assert header.header.digest == HELLO_DIGEST
    assert header.header.request_id
    assert chunk.chunk == HELLO


def test_a_failed_upload_is_typed(call, script: Away, tmp_path: Path) -> None:
    file = tmp_path / "model.onnx"
    file.write_bytes(HELLO)
    script.status = Status(code=grpc.StatusCode.NOT_FOUND.value[0], message="no version")
    with pytest.raises(NotFound):
        call(lambda client: client.upload_artifact("v", "model.onnx", file))
