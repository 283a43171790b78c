"""A process of callers: `python -m benchmarks.loop.callers ADDRESS REQUEST CALLERS SECONDS`.

REQUEST is a file with one serialized `inference.ModelInferRequest`. Each caller waits for its
answer before it asks again. Answers are counted, not decoded, so that the callers cost as little
as they can. Prints one line of JSON.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path

import grpc
import uvloop

_METHOD = "/inference.GRPCInferenceService/ModelInfer"
_WARM_UP_S = 0.2
_CALL_S = 10.0


async def main(address: str, request: bytes, callers: int, seconds: float) -> dict[str, float]:
    """Calls per second and latencies in milliseconds of `callers` callers."""
    latencies_s: list[float] = []
    begin = time.perf_counter() + _WARM_UP_S
    end = begin + seconds

    async def call_on(channel: grpc.aio.Channel) -> None:
        infer = channel.unary_unary(_METHOD)
        while (started := time.perf_counter()) < end:
            await infer(request, timeout=_CALL_S)
            finished = time.perf_counter()
            if started >= begin and finished <= end:
                latencies_s.append(finished - started)

    async with grpc.aio.insecure_channel(address) as channel, asyncio.TaskGroup() as group:
        for _ in range(callers):
            group.create_task(call_on(channel))
    latencies_s.sort()
    return {
        "calls_per_s": len(latencies_s) / seconds,
        "p50_ms": latencies_s[len(latencies_s) // 2] * 1000,
        "p99_ms": latencies_s[int(len(latencies_s) * 0.99)] * 1000,
    }


if __name__ == "__main__":
    target, file, count, duration = sys.argv[1:]
    uvloop.install()
    result = asyncio.run(main(target, Path(file).read_bytes(), int(count), float(duration)))
    print(json.dumps(result))
