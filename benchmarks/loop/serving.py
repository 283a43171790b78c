"""OIP calls through endpoints beside Triton called directly, with one and the same model."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from tritonclient.grpc import service_pb2 as oip

from benchmarks.callers import calling
from benchmarks.harness import Bar, Row, interleaved
from tests.system.world import Flight

CALLERS = (1, 8, 32)
DIRECT = "Triton called directly"
IN_PROCESS = "endpoint, ONNX Runtime in the process"
FRONT = "endpoint in front of Triton"

# An endpoint in the process should cost no more than a hop to Triton does; a plain proxy in
# Python in front of Triton was measured at .25 to .4 of it.
_GOALS = {IN_PROCESS: 0.8, FRONT: 0.25}


def infer_request(model: str, version: str, flight: Flight) -> bytes:
    """One flight as a serialized request."""
    request = oip.ModelInferRequest(model_name=model, model_version=version)
    request.parameters["event_time"].int64_param = flight.event_us
    for name, value in flight.inputs.items():
        is_number = value.dtype.kind == "f"
        tensor = request.inputs.add(name=name, shape=[1, 1])
        tensor.datatype = "FP32" if is_number else "BYTES"
        content = value.item()
        raw = value.tobytes() if is_number else len(content).to_bytes(4, sys.byteorder) + content
        request.raw_input_contents.append(raw)
    serialized: bytes = request.SerializeToString()
    return serialized


def calls_per_second(
    targets: Sequence[tuple[str, str, Path]], *, rounds: int, seconds: float
) -> list[Row]:
    """A row per target and number of callers.

    Args:
        targets: Name, address, and the file with the serialized request.
        rounds: How often each is measured.
        seconds: Of each measurement.
    """
    contenders = [
        (_row_name(name, callers), "calls/s", calling(address, request, callers, seconds))
        for callers in CALLERS
        for name, address, request in targets
    ]
    return interleaved(contenders, rounds)


def bars(rows: Sequence[Row]) -> list[Bar]:
    """Each endpoint's calls as a share of Triton's own."""
    value = {row.name: row.value for row in rows}
    return [
        Bar.at_least(
            f"{name} / {DIRECT}, {callers} callers",
            value[_row_name(name, callers)] / value[_row_name(DIRECT, callers)],
            goal,
        )
        for name, goal in _GOALS.items()
        for callers in CALLERS
    ]


def _row_name(target: str, callers: int) -> str:
    return f"{target}, {callers} callers"
