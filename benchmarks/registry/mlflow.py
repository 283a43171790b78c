"""An MLflow server, in an environment of its own."""

from __future__ import annotations

import http.client
from pathlib import Path

from benchmarks.servers import commands_of
from tests.support.processes import ServerProcess, free_ports

_WORKERS = 4
"""MLflow's own default."""


class MlflowServer:
    """One MLflow with its own workers and artifact proxy.

    Args:
        folder: Where it keeps its files and its log.
        database_url: SQLAlchemy's, of an empty database.
    """

    def __init__(self, folder: Path, database_url: str) -> None:
        python = commands_of("mlflow") / "python"
        (port,) = free_ports(1)
        self.address = f"127.0.0.1:{port}"
        self._process = ServerProcess(
            [
                *(python, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port)),
                *("--backend-store-uri", database_url, "--workers", str(_WORKERS)),
                *("--artifacts-destination", str(folder / "artifacts")),
            ],
            log=folder / "mlflow.log",
            environment={
                "HOME": str(folder),
                "PATH": f"{python.parent}:/usr/bin:/bin",
                "MLFLOW_DISABLE_TELEMETRY": "true",
                "DO_NOT_TRACK": "true",
            },
        )

    @property
    def pid(self) -> int:
        """Of the parent of its workers."""
        return self._process.pid

    def wait_until_ready(self) -> None:
        """Block until it answers; it imports for most of a minute on a busy machine."""
        self._process.wait_until_ready(self._answers, ports=[], timeout_s=300)

    def stop(self) -> None:
        """End it."""
        self._process.stop()

    def _answers(self) -> bool:
        connection = http.client.HTTPConnection(self.address, timeout=5)
        try:
            connection.request("GET", "/health")
            return connection.getresponse().status == http.client.OK
        except OSError:
            return False
        finally:
            connection.close()
