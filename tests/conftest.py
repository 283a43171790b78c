"""Real servers for every test, each started when a test first asks for it.

Nothing is skipped: where a component is not installed, the test fails with a sentence that
says what to run.
"""

from __future__ import annotations

import io
import sys
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import structlog
from hypothesis import settings
from typing_extensions import override

from services.common.blobs.opening import open_blob_store
from services.common.blobs.port import BlobStore
from tests.support.postgres import PostgresServer
from tests.support.prometheus import AlertmanagerServer
from tests.support.seaweedfs import BUCKET, S3Server
from tests.support.triton import TritonServer

# Hypothesis times each example by default; benchmarks measure time, tests don't.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


class _StandardError(io.TextIOBase):
    """Whatever it is at the time: tests put files of their own in its place."""

    @override
    def write(self, text: str) -> int:
        return sys.stderr.write(text)

    @override
    def flush(self) -> None:
        sys.stderr.flush()


# What a service in this process logs is no answer of a command that runs beside it.
structlog.configure(logger_factory=structlog.PrintLoggerFactory(_StandardError()))

_REAL_SERVERS = {"s3_server", "postgres_server", "triton_server", "alertmanager_server"}


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark as `real` each test that asks for a real server."""
    for item in items:
        if _REAL_SERVERS.intersection(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.real)


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """A SeaweedFS, shared by the tests of one process."""
    server = S3Server(tmp_path_factory.mktemp("seaweedfs"))
    yield server
    server.stop()


@pytest.fixture
def s3_url(s3_server: S3Server) -> str:
    """A prefix of the bucket that is this test's alone; goes with `s3_server.connection`."""
    return f"s3://{BUCKET}/{uuid.uuid4().hex}"


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """A PostgreSQL, shared by the tests of one process."""
    server = PostgresServer()
    yield server
    server.stop()


@pytest.fixture
def postgres_url(postgres_server: PostgresServer) -> Iterator[str]:
    """An empty PostgreSQL database that is this test's alone."""
    name = postgres_server.create_database()
    yield postgres_server.url(name)
    postgres_server.drop_database(name)


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    """An empty SQLite file that is this test's alone."""
    return f"sqlite:///{tmp_path / 'test.db'}"


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.real)])
def database_url(request: pytest.FixtureRequest) -> str:
    """An empty database of each kind in turn."""
    return str(request.getfixturevalue(f"{request.param}_url"))


@pytest.fixture(scope="session")
def triton_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TritonServer]:
    """A Triton without models, shared by the tests of one process: unload what you load."""
    server = TritonServer(tmp_path_factory.mktemp("triton"))
    yield server
    server.stop()


@pytest.fixture(scope="session")
def alertmanager_server(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[AlertmanagerServer]:
    """An Alertmanager, shared by the tests of one process: they keep apart by labels."""
    server = AlertmanagerServer(tmp_path_factory.mktemp("alertmanager"))
    yield server
    server.stop()


@pytest.fixture(params=["memory", "directory", pytest.param("s3", marks=pytest.mark.real)])
async def blob_store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[BlobStore]:
    """An empty blob store of each kind in turn."""
    url, connection = "memory://", None
    if request.param == "directory":
        url = f"file://{tmp_path / 'blobs'}"
    elif request.param == "s3":
        url = request.getfixturevalue("s3_url")
        connection = request.getfixturevalue("s3_server").connection
    async with open_blob_store(url, connection=connection) as store:
        yield store
