"""The compose file wires images, settings and stores that exist and fit each other."""

from __future__ import annotations

import importlib
import re
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from services.common.settings import CommonSettings, load_settings
from tests.support.dockerfiles import REPOSITORY, environment, parse

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


def settings_of(service: str, monkeypatch: pytest.MonkeyPatch) -> CommonSettings:
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
