"""A real Prometheus and a real Alertmanager, from the environment of tools/isolated_env.py."""

from __future__ import annotations

import json
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from urllib.error import URLError

import yaml

from tests.support.processes import ServerProcess, free_ports, started

INSTALLATION = Path(__file__).resolve().parents[2] / ".environments/prometheus"

_TIMEOUT_S = 10.0


class PrometheusNotInstalled(RuntimeError):
    """There is no Prometheus to test with."""

    def __init__(self) -> None:
        super().__init__(
            "Prometheus is not installed: run `python tools/isolated_env.py prometheus`, "
            "as `make test` does."
        )


class PrometheusServer:
    """One Prometheus that reads its targets and looks at its rules each second.

    Args:
        folder: Where it keeps its data and its log.
        targets: `host:port` of each metrics endpoint.
        rules: Its rules, as YAML.
        alertmanager: `host:port` of where its alerts go.
    """

    def __init__(
        self, folder: Path, *, targets: Iterable[str], rules: str, alertmanager: str
    ) -> None:
        self._folder = folder
        (folder / "rules.yaml").write_text(rules)
        settings = {
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": ["rules.yaml"],
            "scrape_configs": [
                {"job_name": "services", "static_configs": [{"targets": list(targets)}]}
            ],
            "alerting": {
                "alertmanagers": [{"static_configs": [{"targets": [alertmanager]}]}],
            },
        }
        (folder / "prometheus.yaml").write_text(yaml.safe_dump(settings))
        self._address = ""
        self._process = started(self._start)

    def query(self, expression: str) -> list[dict[str, Any]]:
        """The samples of an expression now.

        Raises:
            urllib.error.HTTPError: It is no expression.
        """
        asked = urllib.parse.urlencode({"query": expression})
        return list(_read(f"http://{self._address}/api/v1/query?{asked}")["data"]["result"])

    def shows(self, expression: str) -> bool:
        """Whether an expression has a sample now."""
        return bool(self.query(expression))

    def firing(self) -> set[tuple[str, str]]:
        """Objective and severity of each alert that fires."""
        alerts = _read(f"http://{self._address}/api/v1/alerts")["data"]["alerts"]
        return {
            (each["labels"]["slo"], each["labels"]["severity"])
            for each in alerts
            if each["state"] == "firing"
        }

    def stop(self) -> None:
        """End it, at once since its data is not needed again."""
        self._process.kill()

    def _start(self) -> ServerProcess:
        (port,) = free_ports(1)
        self._address = f"127.0.0.1:{port}"
        process = ServerProcess(
            [
                program("prometheus"),
                f"--config.file={self._folder / 'prometheus.yaml'}",
                f"--storage.tsdb.path={self._folder / 'data'}",
                f"--web.listen-address={self._address}",
            ],
            log=self._folder / "prometheus.log",
            environment={"HOME": str(self._folder)},
        )
        process.wait_until_ready(lambda: _answers(f"http://{self._address}/-/ready"), ports=[port])
        return process


class AlertmanagerServer:
    """One Alertmanager, which notifies nobody.

    Args:
        folder: Where it keeps its data and its log.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        (folder / "alertmanager.yaml").write_text(
            yaml.safe_dump({"route": {"receiver": "nobody"}, "receivers": [{"name": "nobody"}]})
        )
        self.address = ""
        self._process = started(self._start_on_a_free_port)

    @property
    def url(self) -> str:
        """`http://host:port`."""
        return f"http://{self.address}"

    def alerts(self, **labels: str) -> list[dict[str, Any]]:
        """The alerts that are not over and have these labels."""
        filters = [("filter", f'{name}="{value}"') for name, value in labels.items()]
        found = _read(f"{self.url}/api/v2/alerts?{urllib.parse.urlencode(filters)}")
        return list(found)

    def silence(self, labels: Mapping[str, str], *, start: str, end: str) -> None:
        """Silence the alerts that have these labels between two RFC 3339 times."""
        silence = {
            "matchers": [
                {"name": name, "value": value, "isRegex": False} for name, value in labels.items()
            ],
            "startsAt": start,
            "endsAt": end,
            "createdBy": "ann",
            "comment": "I look.",
        }
        request = urllib.request.Request(
            f"{self.url}/api/v2/silences",
            json.dumps(silence).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=_TIMEOUT_S):
            pass

    def kill(self) -> None:
        """Crash it; it forgets its alerts."""
        self._process.kill()

    def restart(self) -> None:
        """Bring it back after `kill`, on the same port and data."""
        self._process = self._start()

    def stop(self) -> None:
        """End it, at once since its data is not needed again."""
        self._process.kill()

    def _start_on_a_free_port(self) -> ServerProcess:
        (port,) = free_ports(1)
        self.address = f"127.0.0.1:{port}"
        return self._start()

    def _start(self) -> ServerProcess:
        process = ServerProcess(
            [
                program("prometheus-alertmanager"),
                f"--config.file={self._folder / 'alertmanager.yaml'}",
                f"--storage.path={self._folder / 'data'}",
                f"--web.listen-address={self.address}",
                "--cluster.listen-address=",
            ],
            log=self._folder / "alertmanager.log",
            environment={"HOME": str(self._folder)},
        )
        port = int(self.address.rpartition(":")[2])
        process.wait_until_ready(lambda: _answers(f"{self.url}/-/ready"), ports=[port])
        return process


def program(name: str) -> Path:
    """Path of a program of Prometheus or Alertmanager.

    Raises:
        PrometheusNotInstalled: The message says what to run.
    """
    if not (INSTALLATION / "installed.sha256").exists():
        raise PrometheusNotInstalled
    return INSTALLATION / name


def promtool(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """What promtool says."""
    command = [program("promtool"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=1) as answer:
            return int(answer.status) == 200
    except (URLError, OSError):
        return False


def _read(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=_TIMEOUT_S) as answer:
        return json.load(answer)
