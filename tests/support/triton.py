"""A real Triton on loopback, from the environment that tools/isolated_env.py makes."""

from __future__ import annotations

import sysconfig
import urllib.error
import urllib.request
from pathlib import Path

from tests.support.processes import ServerProcess, free_ports, started

INSTALLATION = Path(__file__).resolve().parents[2] / ".environments/triton"

_SHARED_MEMORY = Path("/dev/shm")


class TritonServer:
    """One Triton with an empty repository, under explicit model control.

    Its only backend is python; the environment of its models has onnxruntime and numpy.

    Args:
        folder: Where its repository and its log are.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.repository = folder / "repository"
        self.repository.mkdir()
        self._ports: list[int] = []
        self._process = started(self._start_on_free_ports)

    @property
    def pid(self) -> int:
        """Its process; the stubs of its models are the children."""
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether the server's own process has not ended."""
        return self._process.is_running

    @property
    def address(self) -> str:
        """`host:port` of its gRPC."""
        return f"127.0.0.1:{self._ports[0]}"

    @property
    def metrics_url(self) -> str:
        """Where Prometheus would scrape it."""
        return f"http://127.0.0.1:{self._ports[2]}/metrics"

    def kill(self) -> None:
        """Crash it, its models' stubs included."""
        self._process.kill()
        self._remove_shared_memory()

    def restart(self) -> None:
        """Bring it back after `kill`, on the same ports, with no model loaded."""
        self._process = self._start()

    def stop(self) -> None:
        """Shut it down."""
        self._process.stop(timeout_s=30.0)
        self._remove_shared_memory()

    def _start_on_free_ports(self) -> ServerProcess:
        self._ports = free_ports(3)
        return self._start()

    def _start(self) -> ServerProcess:
        server = INSTALLATION / "tritonserver"
        if not server.exists():
            raise RuntimeError(
                "The tests need Triton: run `make test`, or `python tools/isolated_env.py triton`."
            )
        grpc, http, metrics = self._ports
        process = ServerProcess(
            [
                server.resolve(),
                f"--model-repository={self.repository}",
                f"--backend-directory={INSTALLATION / 'backends'}",
                f"--cache-directory={INSTALLATION / 'caches'}",
                f"--backend-config=python,shm-region-prefix-name={self._shared_memory_prefix}",
                "--model-control-mode=explicit",
                "--strict-readiness=false",
                "--allow-gpu-metrics=false",
                "--exit-timeout-secs=5",
                f"--grpc-port={grpc}",
                "--grpc-address=127.0.0.1",
                f"--http-port={http}",
                "--http-address=127.0.0.1",
                f"--metrics-port={metrics}",
                "--metrics-address=127.0.0.1",
            ],
            log=self._folder / "triton.log",
            environment={
                "HOME": str(self._folder),
                "PATH": f"{INSTALLATION / 'venv/bin'}:/usr/bin:/bin",
                "LD_LIBRARY_PATH": sysconfig.get_config_var("LIBDIR"),
            },
        )
        process.wait_until_ready(self._answers, ports=self._ports)
        return process

    def _answers(self) -> bool:
        url = f"http://127.0.0.1:{self._ports[1]}/v2/health/ready"
        try:
            with urllib.request.urlopen(url, timeout=5):
                return True
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            return False

    @property
    def _shared_memory_prefix(self) -> str:
        return f"roundhouse-test-{self._ports[0]}"

    def _remove_shared_memory(self) -> None:
        """Remove what killed stubs leave behind."""
        for region in _SHARED_MEMORY.glob(f"{self._shared_memory_prefix}*"):
            region.unlink(missing_ok=True)
