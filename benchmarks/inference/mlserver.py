"""MLServer with the same models, in an environment of its own."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import grpc

from benchmarks.inference.models import BenchmarkModel
from benchmarks.servers import commands_of
from tests.support.processes import ServerProcess, free_ports

_HERE = Path(__file__).resolve().parent
_READY_S = 60.0


@contextmanager
def mlserver(folder: Path, models: Sequence[BenchmarkModel]) -> Iterator[tuple[str, int]]:
    """A server of `models` by their ids: `host:port` of its gRPC, and its process.

    It batches across callers, as its documentation advises, and answers in its own process.
    """
    folder.mkdir()
    ports = free_ports(3)
    settings = {"host": "127.0.0.1", "parallel_workers": 0, "debug": False}
    settings |= dict(zip(("http_port", "grpc_port", "metrics_port"), ports, strict=True))
    (folder / "settings.json").write_text(json.dumps(settings))
    for model in models:
        home = folder / model.id
        home.mkdir()
        (home / "model.onnx").write_bytes(model.files["model.onnx"])
        shutil.copyfile(_HERE / "mlserver_onnx.py", home / "mlserver_onnx.py")
        document = {
            "name": model.id,
            "implementation": "mlserver_onnx.OnnxModel",
            "max_batch_size": 256,
            "max_batch_time": 0.001,
            "parameters": {"uri": "./model.onnx"},
        }
        (home / "model-settings.json").write_text(json.dumps(document))
    commands = commands_of("mlserver")
    process = ServerProcess(
        [commands / "mlserver", "start", folder],
        log=folder / "mlserver.log",
        environment={"HOME": str(folder), "PATH": f"{commands}:/usr/bin:/bin"},
    )
    address = f"127.0.0.1:{ports[1]}"
    try:
        with grpc.insecure_channel(address) as channel:
            grpc.channel_ready_future(channel).result(_READY_S)
        yield address, process.pid
    finally:
        process.stop(timeout_s=10.0)
