"""Callers that others wrote, each with its own gRPC, sending an endpoint a number of requests.

Each gives which version answered how many, by its number; what did not answer is not counted.
"""

from __future__ import annotations

import asyncio
import json
import os
import queue
import re
import tempfile
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import tritonclient.grpc as sync_client
import tritonclient.grpc.aio as aio_client
from google.protobuf.json_format import MessageToDict

from tests.support.oip_calls import FLIGHT, inputs_of, raw_request

INSTALLATION = Path(__file__).resolve().parents[2] / ".environments/callers"

_SCRIPT = Path(__file__).with_name("canary.k6.js")
_AT_ONCE = 8
_ANSWER_S = 60.0
_FRAME_HEADER = 5


class CallersNotInstalled(RuntimeError):
    """There are no k6 and h2load to call with."""

    def __init__(self) -> None:
        super().__init__(
            "k6 and h2load are not installed: run `python tools/isolated_env.py callers`, "
            "as `make test` does."
        )


async def tritonclient_sync(address: str, requests: int) -> Mapping[str, int]:
    """The blocking client, its calls with a callback, and its stream: a third each."""
    heard: queue.Queue = queue.Queue()

    def hear(result, error) -> None:
        heard.put((result, error))

    def call() -> Counter[str]:
        tensors = inputs_of(sync_client, FLIGHT)
        with sync_client.InferenceServerClient(address) as client:
            client.start_stream(hear)
            for number in range(requests):
                match number % 3:
                    case 0:
                        hear(client.infer("delays", tensors), None)
                    case 1:
                        client.async_infer("delays", tensors, hear)
                    case _:
                        client.async_stream_infer("delays", tensors)
            answers = [heard.get(timeout=_ANSWER_S) for _ in range(requests)]
        return Counter(_version(result) for result, error in answers if error is None)

    return await asyncio.to_thread(call)


async def tritonclient_aio(address: str, requests: int) -> Mapping[str, int]:
    """The asynchronous client and its stream: a half each."""
    versions: Counter[str] = Counter()
    tensors = inputs_of(aio_client, FLIGHT)
    streamed = requests // 2

    async def each():
        for _ in range(streamed):
            yield {"model_name": "delays", "inputs": tensors}

    async with aio_client.InferenceServerClient(address) as client:
        for _ in range(requests - streamed):
            versions[_version(await client.infer("delays", tensors))] += 1
        async for result, error in client.stream_infer(each()):
            if error is None:
                versions[_version(result)] += 1
    return versions


async def k6(address: str, requests: int, versions: tuple[str, ...]) -> Mapping[str, int]:
    """Grafana's load generator in Go, which learns the protocol by the server's reflection."""
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(MessageToDict(raw_request()), file)
        file.flush()
        printed = await _output_of(
            INSTALLATION / "venv/bin/k6",
            *("run", "--quiet", "--no-usage-report", _SCRIPT),
            ADDRESS=address,
            REQUEST=file.name,
            REQUESTS=str(requests),
            VERSIONS=",".join(versions),
        )
    metrics = json.loads(printed)
    return {each: metrics[f"answered{{version:{each}}}"]["values"]["count"] for each in versions}


async def h2load(address: str, requests: int) -> int:
    """How many answers nghttp2's load generator got, at the level of HTTP/2.

    It reads neither bodies nor trailers, so that only the service knows which version answered
    and with which status.
    """
    message = raw_request().SerializeToString()
    with tempfile.NamedTemporaryFile() as body:
        body.write(b"\0" + len(message).to_bytes(_FRAME_HEADER - 1) + message)
        body.flush()
        printed = await _output_of(
            INSTALLATION / "h2load",
            *(f"--requests={requests}", f"--clients={_AT_ONCE}", "--max-concurrent-streams=4"),
            *(f"--data={body.name}", "--header=content-type: application/grpc"),
            *("--header=te: trailers", "--no-tls-proto=h2c"),
            f"http://{address}/inference.GRPCInferenceService/ModelInfer",
        )
    found = re.search(r"^status codes: (\d+) 2xx", printed, re.MULTILINE)
    assert found, printed
    return int(found[1])


async def _output_of(program: Path, *arguments: str | Path, **environment: str) -> str:
    if not (INSTALLATION / "installed.sha256").exists():
        raise CallersNotInstalled
    running = await asyncio.create_subprocess_exec(
        program,
        *arguments,
        env={**os.environ, **environment},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await running.communicate()
    assert running.returncode == 0, err.decode()
    return out.decode()


def _version(result) -> str:
    return result.get_response().model_version
