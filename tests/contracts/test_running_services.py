"""Every RPC of four running services, called with the smallest request that is valid."""

from __future__ import annotations

import grpc
import pytest
import pytest_asyncio
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import ErrorInfo
from grpc_status import rpc_status
from tritonclient.grpc import service_pb2 as oip

from tests.contracts.descriptors import SERVICES, methods, reasons
from tests.contracts.minimal_requests import minimal_request
from tests.system.suite import running_suite

pytestmark = pytest.mark.real

# A stream that follows something has no end; one answer, or none in this time, will do.
STREAM_S = 1.0
CALL_S = 20.0


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def suite(tmp_path_factory):
    async with running_suite(tmp_path_factory.mktemp("contracts")) as suite:
        yield suite


def calls_of(service: str):
    served = methods(service, "common")
    if service == "inference":
        served += list(oip.DESCRIPTOR.services_by_name["GRPCInferenceService"].methods)
    return served


def parameters():
    return [
        pytest.param(
            service, method, id=f"{service}-{method.containing_service.name}.{method.name}"
        )
        for service in SERVICES
        for method in calls_of(service)
    ]


async def outcome(channel, method, request: Message) -> grpc.aio.AioRpcError | None:
    arity = (
        f"{'stream' if method.client_streaming else 'unary'}_"
        f"{'stream' if method.server_streaming else 'unary'}"
    )
    call = getattr(channel, arity)(
        f"/{method.containing_service.full_name}/{method.name}",
        request_serializer=type(request).SerializeToString,
        response_deserializer=lambda answer: answer,
    )
    argument = iter([request]) if method.client_streaming else request
    try:
        if method.server_streaming:
            async for _ in call(argument, timeout=STREAM_S):
                break
        else:
            await call(argument, timeout=CALL_S)
    except grpc.aio.AioRpcError as error:
        return error
    return None


@pytest.mark.parametrize(("service", "method"), parameters())
@pytest.mark.asyncio(loop_scope="module")
async def test_every_rpc_is_implemented_and_refuses_with_a_reason_of_its_contract(
    suite, service, method
):
    async with grpc.aio.insecure_channel(suite.address(service)) as channel:
        error = await outcome(channel, method, minimal_request(method.input_type))
    if error is None:
        return
    if method.server_streaming and error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
        return
    info = ErrorInfo()
    status = rpc_status.from_call(error)
    assert status is not None, f"{error.code().name} without details: {error.details()}"
    assert any(detail.Unpack(info) for detail in status.details if detail.Is(info.DESCRIPTOR))
    assert info.domain == f"{service}.roundhouse.dev"
    assert info.reason in (reasons(service) | reasons("common")) - {"INTERNAL"}
