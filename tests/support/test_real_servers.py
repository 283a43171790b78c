"""The servers that other tests stand on are real, apart from each other, and leave nothing."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import uuid
from pathlib import Path

import numpy as np
import onnx
import psutil
import pytest
from onnx import TensorProto, helper
from sqlalchemy import create_engine, text
from tritonclient.grpc import InferenceServerClient, InferInput
from tritonclient.utils import InferenceServerException

from tests.support.postgres import PostgresServer
from tests.support.processes import ServerFailedToStart, ServerProcess, free_ports, wait_until
from tests.support.triton import TritonServer

ONNX_RUNNER = """
import os
import onnxruntime
import triton_python_backend_utils as triton


class TritonPythonModel:
    def initialize(self, args):
        path = os.path.join(args["model_repository"], args["model_version"], "model.onnx")
        self.session = onnxruntime.InferenceSession(path)

    def execute(self, requests):
        answers = []
        for request in requests:
            x = triton.get_input_tensor_by_name(request, "x").as_numpy()
            (y,) = self.session.run(["y"], {"x": x})
            answers.append(triton.InferenceResponse([triton.Tensor("y", y)]))
        return answers
"""

HOLD_A_SERVER = """
import sys
from pathlib import Path
from tests.support.processes import ServerProcess

server = ServerProcess(["/bin/sleep", "600"], log=Path(sys.argv[1]), environment={})
print(server.pid, flush=True)
sys.stdin.read()
"""


def multiplier(factor: float) -> bytes:
    graph = helper.make_graph(
        [helper.make_node("Mul", ["x", "factor"], ["y"])],
        "multiplier",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, 1])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, 1])],
        [helper.make_tensor("factor", TensorProto.FLOAT, [], [factor])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def load(client: InferenceServerClient, name: str, model: bytes) -> None:
    config = {
        "backend": "python",
        "max_batch_size": 8,
        "input": [{"name": "x", "data_type": "TYPE_FP32", "dims": [1]}],
        "output": [{"name": "y", "data_type": "TYPE_FP32", "dims": [1]}],
        # Without a change in its config Triton would not load a pushed model anew.
        "parameters": {"revision": {"string_value": uuid.uuid4().hex}},
    }
    files = {"file:1/model.py": ONNX_RUNNER.encode(), "file:1/model.onnx": model}
    client.load_model(name, config=json.dumps(config), files=files)


def infer(client: InferenceServerClient, name: str, value: float) -> float:
    x = InferInput("x", [1, 1], "FP32")
    x.set_data_from_numpy(np.array([[value]], dtype=np.float32))
    return float(client.infer(name, [x]).as_numpy("y")[0, 0])


def test_triton_serves_an_onnx_model_pushed_to_it_and_swaps_it(triton_server: TritonServer):
    with InferenceServerClient(triton_server.address) as client:
        load(client, "multiplier", multiplier(2))
        assert infer(client, "multiplier", 21) == 42

        load(client, "multiplier", multiplier(3))
        assert infer(client, "multiplier", 21) == 63

        with pytest.raises(InferenceServerException):
            load(client, "multiplier", b"no model")
        assert infer(client, "multiplier", 21) == 63
        client.unload_model("multiplier")


@pytest.mark.real
def test_a_crashed_triton_comes_back_empty_at_the_same_address(
    tmp_path_factory: pytest.TempPathFactory,
):
    server = TritonServer(tmp_path_factory.mktemp("crashing-triton"))
    try:
        with InferenceServerClient(server.address) as client:
            load(client, "multiplier", multiplier(2))
        stubs = psutil.Process(server.pid).children(recursive=True)
        assert stubs
        server.kill()
        psutil.wait_procs(stubs, timeout=10)
        assert not any(stub.is_running() for stub in stubs)

        server.restart()
        with InferenceServerClient(server.address) as client:
            assert client.is_server_live()
            assert not client.is_model_ready("multiplier")
    finally:
        server.stop()


def test_databases_are_apart_and_can_be_copied_from_a_template(postgres_server: PostgresServer):
    template = postgres_server.create_database()
    run_in(postgres_server.url(template), "CREATE TABLE only_in_template ()")

    copy = postgres_server.create_database(template=template)
    other = postgres_server.create_database()

    assert run_in(postgres_server.url(copy), TABLES) == ["only_in_template"]
    assert run_in(postgres_server.url(other), TABLES) == []
    for name in (template, copy, other):
        postgres_server.drop_database(name)


TABLES = "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"


def run_in(url: str, statement: str) -> list[str]:
    engine = create_engine(url)
    with engine.begin() as connection:
        result = connection.execute(text(statement))
        rows = [row[0] for row in result] if result.returns_rows else []
    engine.dispose()
    return rows


def test_both_kinds_of_database_accept_connections(database_url: str):
    assert run_in(database_url, "SELECT 1") == [1]


def test_a_server_dies_with_the_test_run_that_was_killed(tmp_path: Path):
    with subprocess.Popen(
        [sys.executable, "-c", HOLD_A_SERVER, str(tmp_path / "log")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as run:
        assert run.stdout is not None
        server = psutil.Process(int(run.stdout.readline()))
        # Only from then on is its end tied to the run's.
        wait_until(lambda: server.name() == "sleep", what="start of the server")
        run.send_signal(signal.SIGKILL)

    wait_until(lambda: has_ended(server), what="end of the server")


def has_ended(process: psutil.Process) -> bool:
    """Whoever inherits it may never ask how."""
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


def test_a_server_that_ends_at_once_is_reported_with_its_log(tmp_path: Path):
    server = ServerProcess(
        ["/bin/sh", "-c", "echo out of luck; exit 3"], log=tmp_path / "log", environment={}
    )

    with pytest.raises(ServerFailedToStart, match="ended with 3:\nout of luck"):
        server.wait_until_ready(lambda: True, ports=free_ports(1))


def test_a_stranger_on_the_port_is_not_taken_for_the_server(tmp_path: Path):
    with socket.create_server(("127.0.0.1", 0)) as stranger:
        server = ServerProcess(["/bin/sleep", "600"], log=tmp_path / "log", environment={})
        with pytest.raises(ServerFailedToStart, match="not ready"):
            server.wait_until_ready(lambda: True, ports=[stranger.getsockname()[1]], timeout_s=0.3)

    assert not psutil.pid_exists(server.pid)
