"""The inference service as a process of its own, to be killed and measured."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from tests.support.processes import free_ports

ROOT = Path(__file__).resolve().parents[2]


class InferenceProcess:
    """`python -m services.inference` with fixed ports and data, started again at will.

    `settings` are by their names, such as `server="native"`.
    """

    def __init__(
        self, folder: Path, registry_address: str, monitor_address: str, **settings: str
    ) -> None:
        self._folder = folder
        grpc_port, metrics_port = free_ports(2)
        self.address = f"127.0.0.1:{grpc_port}"
        metrics_address = f"127.0.0.1:{metrics_port}"
        self.metrics_url = f"http://{metrics_address}/metrics"
        chosen = {
            "listen": self.address,
            "metrics_listen": metrics_address,
            "data_dir": str(folder / "data"),
            "registry_address": registry_address,
            "monitor_address": monitor_address,
            "drain_timeout_s": "5",
            **settings,
        }
        self._environment = {
            **os.environ,
            **{f"ROUNDHOUSE_INFERENCE_{name.upper()}": value for name, value in chosen.items()},
        }
        self._child: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it; it listens some time later."""
        with (self._folder / "inference.log").open("ab") as log:
            self._child = subprocess.Popen(
                [sys.executable, "-m", "services.inference"],
                cwd=ROOT,
                env=self._environment,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    @property
    def pid(self) -> int:
        """Of the process started last."""
        assert self._child is not None
        return self._child.pid

    def end(self, number: signal.Signals) -> int:
        """Send it a signal and wait for its exit code."""
        assert self._child is not None
        self._child.send_signal(number)
        return self._child.wait(30)
