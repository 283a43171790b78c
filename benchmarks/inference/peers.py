"""Other Python model servers with the same models, each in an environment of its own."""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

from benchmarks.inference.mlserver import mlserver
from benchmarks.inference.models import BenchmarkModel
from benchmarks.inference.targets import GRPC, HTTP, Target, grpc_answers
from benchmarks.servers import commands_of
from tests.support.processes import ServerProcess, free_ports, wait_until

_ROOT: Final = Path(__file__).resolve().parents[2]
_SERVERS: Final = Path(__file__).resolve().parent / "peer_servers"
_READY_S: Final = 90.0
_STOP_S: Final = 15.0


class PeerFailed(RuntimeError):
    """A peer can't be measured; the message says why."""


@dataclass(frozen=True, slots=True)
class Peer:
    """A model server to be beside.

    Attributes:
        name: As tables show it.
        environment: Of `tools/environments`.
        serve: Gives where it answers for each model, by the model's name.
    """

    name: str
    environment: str
    serve: Callable[[Path, Sequence[BenchmarkModel]], AbstractContextManager[dict[str, Target]]]

    def install(self) -> None:
        """Make its environment, once.

        Raises:
            PeerFailed: It does not install here.
        """
        command = [sys.executable, str(_ROOT / "tools/isolated_env.py"), self.environment]
        done = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False)
        if done.returncode:
            raise PeerFailed(f"does not install: {done.stderr.strip().splitlines()[-1]}")

    @contextmanager
    def running(
        self, folder: Path, models: Sequence[BenchmarkModel]
    ) -> Iterator[dict[str, Target]]:
        """Where it answers, by the model's name, while the block lasts.

        Raises:
            PeerFailed: It does not start.
        """
        folder.mkdir(parents=True)
        for model in models:
            (folder / f"{model.id}.onnx").write_bytes(model.files["model.onnx"])
        with ExitStack() as stack:
            try:
                found = stack.enter_context(self.serve(folder, models))
            except Exception as error:
                raise PeerFailed(f"does not start: {error}") from error
            yield found


@contextmanager
def _mlserver(folder: Path, models: Sequence[BenchmarkModel]) -> Iterator[dict[str, Target]]:
    with mlserver(folder / "mlserver", models) as (address, pid):
        yield _grpc_targets(folder, models, "MLServer", address, pid)


@contextmanager
def _kserve(folder: Path, models: Sequence[BenchmarkModel]) -> Iterator[dict[str, Target]]:
    http_port, grpc_port = free_ports(2)
    command = ["python", _SERVERS / "kserve_server.py", http_port, grpc_port, folder]
    with _process("kserve", folder, command) as process:
        found = _grpc_targets(folder, models, "KServe", f"127.0.0.1:{grpc_port}", process.pid)
        _wait(process, lambda: all(map(grpc_answers, found.values())))
        yield found


@contextmanager
def _litserve(folder: Path, models: Sequence[BenchmarkModel]) -> Iterator[dict[str, Target]]:
    (port,) = free_ports(1)
    command = ["python", _SERVERS / "litserve_server.py", port, folder]
    with _process("litserve", folder, command) as process:
        yield _http_targets(folder, models, ("LitServe", port), lambda row: row, process)


@contextmanager
def _bentoml(folder: Path, models: Sequence[BenchmarkModel]) -> Iterator[dict[str, Target]]:
    (port,) = free_ports(1)
    command = ["bentoml", "serve", "bentoml_server:Models", "--working-dir", _SERVERS]
    command += ["--host", "127.0.0.1", "--port", port]
    with _process("bentoml", folder, command) as process:
        yield _http_targets(folder, models, ("BentoML", port), lambda row: {"rows": [row]}, process)


@contextmanager
def _ray(folder: Path, models: Sequence[BenchmarkModel]) -> Iterator[dict[str, Target]]:
    (port,) = free_ports(1)
    command = ["python", _SERVERS / "ray_server.py", port, folder]
    with _process("ray", folder, command) as process:
        yield _http_targets(folder, models, ("Ray Serve", port), lambda row: row, process)


@contextmanager
def _process(environment: str, folder: Path, command: Sequence[Any]) -> Iterator[ServerProcess]:
    commands = commands_of(environment)
    program, *arguments = command
    process = ServerProcess(
        [commands / program, *map(str, arguments)],
        log=folder / "server.log",
        environment={
            "HOME": str(folder),
            "PATH": f"{commands}:/usr/bin:/bin",
            "MODELS": str(folder),
            "BENTOML_DO_NOT_TRACK": "True",
            "RAY_USAGE_STATS_ENABLED": "0",
        },
    )
    try:
        yield process
    finally:
        process.stop(timeout_s=_STOP_S)


def _grpc_targets(
    folder: Path, models: Sequence[BenchmarkModel], name: str, address: str, pid: int
) -> dict[str, Target]:
    found = {}
    for model in models:
        path = folder / f"{model.id}.request"
        path.write_bytes(model.request(model.id))
        found[model.name] = Target(name, address, path, pid, GRPC)
    return found


def _http_targets(
    folder: Path,
    models: Sequence[BenchmarkModel],
    where: tuple[str, int],
    body_of: Callable[[Mapping[str, Any]], Mapping[str, Any]],
    process: ServerProcess,
) -> dict[str, Target]:
    name, port = where
    found = {}
    for model in models:
        body = json.dumps(body_of(model.row)).encode()
        head = (
            f"POST /{model.id} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        path = folder / f"{model.id}.request"
        path.write_bytes(head.encode() + body)
        found[model.name] = Target(name, f"127.0.0.1:{port}", path, None, HTTP)
        _wait(process, partial(_http_answers, port, f"/{model.id}", body))
    return found


def _wait(process: ServerProcess, answers: Callable[[], bool]) -> None:
    try:
        wait_until(answers, what="answer", timeout_s=_READY_S, poll_s=0.2)
    except TimeoutError as error:
        raise PeerFailed(f"{error}: {process.tail()[-300:]}") from error


def _http_answers(port: int, route: str, body: bytes) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("POST", route, body, {"Content-Type": "application/json"})
        response = connection.getresponse()
        return response.status == 200 and b"probabilities" in response.read()
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


PEERS: Final = (
    Peer("MLServer", "mlserver", _mlserver),
    Peer("KServe", "kserve", _kserve),
    Peer("BentoML", "bentoml", _bentoml),
    Peer("LitServe", "litserve", _litserve),
    Peer("Ray Serve", "ray", _ray),
)
