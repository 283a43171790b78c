"""The compose file wires images, settings and stores that exist and fit each other."""

from __future__ import annotations

import importlib
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from services.common.settings import BlobSettings, load_settings
from tests.support.dockerfiles import REPOSITORY, environment, parse
from tests.support.processes import ServerProcess, free_ports
from tests.support.seaweedfs import S3Server
from tests.support.triton import TritonServer

SERVICES = ["registry", "trainer", "inference", "monitor"]
FOLDER = REPOSITORY / "docker"


def compose() -> dict[str, Any]:
    return dict(yaml.safe_load((FOLDER / "compose.yaml").read_text()))


def secrets() -> dict[str, str]:
    lines = (FOLDER / "env.example").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if not line.startswith("#"))


def interpolated(value: str) -> str:
    """The value as compose reads it with docker/.env a copy of env.example."""
    known = secrets()
    return re.sub(r"\$\{(\w+):\?\}", lambda match: known[match[1]], value)


def settings_of(service: str, monkeypatch: pytest.MonkeyPatch) -> BlobSettings:
    """What the service reads in its container."""
    variables = environment(parse(FOLDER / f"{service}.Dockerfile"))
    variables |= compose()["services"][service]["environment"]
    for name, value in variables.items():
        if name.startswith("ROUNDHOUSE_"):
            monkeypatch.setenv(name, interpolated(value))
    module = importlib.import_module(f"services.{service}.settings")
    return load_settings(getattr(module, f"{service.capitalize()}Settings"))


@pytest.mark.parametrize("service", SERVICES)
def test_each_service_is_built_from_its_own_dockerfile(service: str):
    build = compose()["services"][service]["build"]

    assert (FOLDER / build["context"]).resolve() == REPOSITORY
    assert (REPOSITORY / build["dockerfile"]) == FOLDER / f"{service}.Dockerfile"


@pytest.mark.parametrize("service", SERVICES)
def test_each_service_accepts_its_settings_and_keeps_everything_in_the_stores(
    service: str, monkeypatch: pytest.MonkeyPatch
):
    settings = settings_of(service, monkeypatch)

    database = urlsplit(settings.database_url)
    assert (database.scheme, database.hostname) == ("postgresql+psycopg", "postgres")
    assert database.path == f"/{service}"
    assert f"CREATE DATABASE {service};" in compose()["configs"]["databases"]["content"]
    assert database.password == secrets()["POSTGRES_PASSWORD"]
    assert settings.blob_url == f"s3://roundhouse/{service}"


@pytest.mark.parametrize("service", SERVICES)
def test_peers_are_addressed_where_they_listen(service: str, monkeypatch: pytest.MonkeyPatch):
    settings = settings_of(service, monkeypatch)

    for peer in SERVICES:
        address = getattr(settings, f"{peer}_address", None)
        if address is not None:
            listen = environment(parse(FOLDER / f"{peer}.Dockerfile"))
            port = listen[f"ROUNDHOUSE_{peer.upper()}_LISTEN"].removeprefix("0.0.0.0:")
            assert address == f"{peer}:{port}"


@pytest.mark.parametrize("service", SERVICES)
def test_ports_are_published_on_loopback_only(service: str):
    exposed = next(
        step.value.split()
        for step in parse(FOLDER / f"{service}.Dockerfile")
        if step.name == "EXPOSE"
    )

    published = compose()["services"][service]["ports"]
    assert published == [f"127.0.0.1:{port}:{port}" for port in exposed]


@pytest.mark.parametrize("service", SERVICES)
def test_each_service_starts_on_the_stores_that_the_file_gives_it(
    service: str,
    tmp_path: Path,
    postgres_url: str,
    s3_server: S3Server,
    s3_url: str,
    triton_server: TritonServer,
):
    port, metrics_port, *peer_ports = free_ports(6)
    here = {
        "LISTEN": f"127.0.0.1:{port}",
        "METRICS_LISTEN": f"127.0.0.1:{metrics_port}",
        "DATA_DIR": str(tmp_path),
        "DATABASE_URL": postgres_url,
        "BLOB_URL": s3_url,
        "S3_ENDPOINT": s3_server.address,
        "S3_ACCESS_KEY": s3_server.connection.access_key,
        "S3_SECRET_KEY": s3_server.connection.secret_key,
        "TRITON_ADDRESS": triton_server.address,
    }
    # Nobody listens there: no service may need another to start.
    here |= {
        f"{peer.upper()}_ADDRESS": f"127.0.0.1:{peer_port}"
        for peer, peer_port in zip(SERVICES, peer_ports, strict=True)
    }
    prefix = f"ROUNDHOUSE_{service.upper()}_"
    variables = environment(parse(FOLDER / f"{service}.Dockerfile"))
    variables |= compose()["services"][service]["environment"]
    own = {
        name: here.get(name.removeprefix(prefix), value)
        for name, value in variables.items()
        if name.startswith(prefix)
    }

    server = ServerProcess(
        [sys.executable, "-m", f"services.{service}"],
        log=tmp_path / "service.log",
        environment={"PATH": os.defpath, "HOME": str(tmp_path)} | own,
    )
    try:
        server.wait_until_ready(lambda: serves(port), ports=[port, metrics_port])
    finally:
        server.stop()


def serves(port: int) -> bool:
    probe = [sys.executable, str(FOLDER / "healthcheck.py"), f"127.0.0.1:{port}"]
    return subprocess.run(probe, stderr=subprocess.DEVNULL, check=False).returncode == 0


def test_every_image_has_an_exact_version():
    for name, service in compose()["services"].items():
        if name not in SERVICES:
            assert re.search(r":[A-Za-z.]*\d+[.-]\d+", service["image"]), name


def test_everything_that_is_referred_to_exists():
    file = compose()
    for name, service in file["services"].items():
        assert set(service.get("depends_on", [])) <= set(file["services"]), name
        for volume in service.get("volumes", []):
            assert volume.split(":")[0] in file["volumes"], name
        for config in service.get("configs", []):
            assert config["source"] in file["configs"], name


def test_whoever_waits_for_health_waits_for_somebody_who_reports_it():
    services = compose()["services"]
    for name, service in services.items():
        waits = service.get("depends_on", [])
        for other in waits:
            if isinstance(waits, dict) and waits[other]["condition"] == "service_healthy":
                assert "healthcheck" in services[other] or other in SERVICES, name


def test_no_secret_stands_in_the_compose_file():
    text = (FOLDER / "compose.yaml").read_text()

    assert not any(secret in text for secret in secrets().values())
    for name, service in compose()["services"].items():
        for variable, value in service.get("environment", {}).items():
            if re.search("PASSWORD|SECRET", variable):
                assert re.fullmatch(r"\$\{\w+:\?\}", value), (name, variable)
