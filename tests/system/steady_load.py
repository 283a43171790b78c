"""Inference requests at a steady rate, and what became of each."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
from tritonclient.grpc import service_pb2 as oip
from tritonclient.grpc import service_pb2_grpc as oip_grpc

from services.inference.core.wire import encoded_texts
from tests.support.bundles import raw_floats

_CALL_S = 10.0
_CALLERS = 64


@dataclass(frozen=True, slots=True)
class Answer:
    """What one request came to.

    Attributes:
        end_s: `time.monotonic()` when the caller had it.
        took_s: Since the request was due, so that a stalled server can't hide behind its callers.
        version: That answered; '' if the call failed.
        failure: Why it failed; '' if it did not.
    """

    end_s: float
    took_s: float
    version: str
    failure: str = ""


@dataclass
class SteadyLoad:
    """What has been asked so far.

    Attributes:
        answers: In the order in which they came; the oldest may be dropped by `forget`.
    """

    answers: list[Answer] = field(default_factory=list)

    def since(self, start_s: float) -> Sequence[Answer]:
        """Those that came from `start_s` on."""
        return [answer for answer in self.answers if answer.end_s >= start_s]

    def of(self, version: str) -> int:
        """How many a version has answered."""
        return sum(answer.version == version for answer in self.answers)

    def forget(self) -> None:
        """Begin a new list."""
        self.answers = []


@asynccontextmanager
async def steady_load(address: str, endpoint: str, rate_per_s: float) -> AsyncIterator[SteadyLoad]:
    """Ask `endpoint` at `rate_per_s` for the length of the block.

    Every request is due at its time whether or not those before it are answered; at most
    64 are under way.
    """
    load = SteadyLoad()
    start_s = time.monotonic()
    numbers = itertools.count()
    stopping = asyncio.Event()
    async with grpc.aio.insecure_channel(address) as channel:
        stub: Any = oip_grpc.GRPCInferenceServiceStub(channel)

        async def call() -> None:
            while not stopping.is_set():
                number = next(numbers)
                due_s = start_s + number / rate_per_s
                await asyncio.sleep(max(0.0, due_s - time.monotonic()))
                load.answers.append(await _answer(stub, endpoint, number, due_s))

        async with asyncio.TaskGroup() as callers:
            for _ in range(_CALLERS):
                callers.create_task(call())
            try:
                yield load
            finally:
                stopping.set()


async def _answer(stub: Any, endpoint: str, number: int, due_s: float) -> Answer:
    version, failure = "", ""
    try:
        answer = await stub.ModelInfer(_request(endpoint, number), timeout=_CALL_S)
        version = answer.parameters["variant"].string_param
    except grpc.aio.AioRpcError as error:
        failure = f"{error.code().name}: {error.details()}"
    now_s = time.monotonic()
    return Answer(now_s, now_s - due_s, version, failure)


def _request(endpoint: str, number: int) -> oip.ModelInferRequest:
    request = oip.ModelInferRequest(model_name=endpoint, id=f"steady-{number}")
    for name, datatype, raw in (
        ("distance", "FP32", raw_floats([float(number % 3000)])),
        ("delay", "FP32", raw_floats([float(number % 60)])),
        ("carrier", "BYTES", encoded_texts(["AA"])),
    ):
        request.inputs.add(name=name, datatype=datatype, shape=(1, 1))
        request.raw_input_contents.append(raw)
    return request
