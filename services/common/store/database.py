"""Transactions on SQLite and PostgreSQL with one meaning.

A transaction is a synchronous function that runs in a thread. Writes of one
database are serial: on SQLite by `BEGIN IMMEDIATE`, on PostgreSQL by an advisory
lock taken first. So use cases need no thought about isolation, and events get
numbers in the order of their commits (docs/decisions/0002).
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from pathlib import Path
from typing import Any, Final, TypeVar

from sqlalchemy import Connection, create_engine, event, make_url, text
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.pool import ConnectionPoolEntry

from services.common.errors import Unavailable

T = TypeVar("T")

_WRITER_LOCK: Final = 0x526F756E64  # "Round": the advisory lock that makes writers serial
_AFTER_COMMIT: Final = "roundhouse_after_commit"
_MAX_TRIES: Final = 8
_RETRYABLE_SQLSTATES: Final = frozenset({"40001", "40P01", "55P03"})


def after_commit(connection: Connection, act: Callable[[], None]) -> None:
    """Call `act` in this thread once the running write has committed; never if it doesn't."""
    connection.info[_AFTER_COMMIT].append(act)


class DatabaseUnavailable(Unavailable):
    """The metadata database does not answer."""

    reason = "DEPENDENCY_UNAVAILABLE"

    def __init__(self, error: Exception) -> None:
        super().__init__(
            "The metadata database does not answer; the call changed nothing and may be retried.",
            dependency="database",
        )
        self.__cause__ = error


class Database:
    """One service's metadata.

    Args:
        url: `sqlite:///path` or `postgresql+psycopg://...`.
        readers: Read transactions that run at once.
    """

    def __init__(self, url: str, *, readers: int = 4) -> None:
        parsed = make_url(url)
        self.dialect = parsed.get_backend_name()
        if self.dialect == "sqlite":
            if parsed.database in (None, "", ":memory:"):
                raise ValueError("database_url names no file: an in-memory SQLite loses everything")
            Path(parsed.database or "").parent.mkdir(parents=True, exist_ok=True)
        elif self.dialect != "postgresql":
            raise ValueError(
                f"database_url starts with {parsed.drivername!r}; "
                "it must be sqlite:///PATH or postgresql+psycopg://..."
            )
        self._engine = create_engine(
            url, pool_size=readers + 1, max_overflow=0, pool_pre_ping=self.dialect != "sqlite"
        )
        if self.dialect == "sqlite":
            event.listen(self._engine, "connect", _configure_sqlite)
            event.listen(self._engine, "begin", _begin_sqlite)
        self._readers = ThreadPoolExecutor(readers, thread_name_prefix="db-read")
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="db-write")
        self._write_listeners: list[Callable[[], None]] = []

    async def read(self, work: Callable[[Connection], T]) -> T:
        """What `work` gives, from one consistent view of the data.

        Raises:
            DatabaseUnavailable: The database does not answer.
        """
        return await self._in_thread(self._readers, self.read_now, work)

    async def write(self, work: Callable[[Connection], T]) -> T:
        """What `work` gives, once everything it wrote is durable; nothing if it raises.

        `work` may run more than once, so it must not act outside the database.

        Raises:
            DatabaseUnavailable: The database does not answer.
        """
        result = await self._in_thread(self._writer, self.write_now, work)
        for listener in self._write_listeners:
            listener()
        return result

    def on_write(self, listener: Callable[[], None]) -> None:
        """Call `listener` in the event loop after each `write` that has committed."""
        self._write_listeners.append(listener)

    def read_now(self, work: Callable[[Connection], T]) -> T:
        """`read` for callers that already run in a thread; blocks."""
        options: dict[str, Any] = {}  # the option's values differ in type
        if self.dialect == "postgresql":
            options = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
        return self._transact(work, options)

    def write_now(self, work: Callable[[Connection], T]) -> T:
        """`write` for callers that already run in a thread; blocks."""
        return self._transact(work, {"roundhouse_write": True})

    def _transact(self, work: Callable[[Connection], T], options: dict[str, Any]) -> T:
        for tried in range(1, _MAX_TRIES + 1):
            acts: list[Callable[[], None]] = []
            try:
                with (
                    self._engine.connect().execution_options(**options) as connection,
                    connection.begin(),
                ):
                    connection.info[_AFTER_COMMIT] = acts
                    if self.dialect == "postgresql" and "roundhouse_write" in options:
                        connection.execute(
                            text("SELECT pg_advisory_xact_lock(:key)"), {"key": _WRITER_LOCK}
                        )
                    result = work(connection)
            except DBAPIError as error:
                if not _is_passing(error):
                    raise
                if tried == _MAX_TRIES:
                    raise DatabaseUnavailable(error) from error
                time.sleep(random.uniform(0, 0.01 * 2**tried))  # noqa: S311 - jitter
            else:
                for act in acts:
                    act()
                return result
        raise AssertionError("unreachable")

    @staticmethod
    async def _in_thread(
        executor: ThreadPoolExecutor,
        transact: Callable[[Callable[[Connection], T]], T],
        work: Callable[[Connection], T],
    ) -> T:
        context = copy_context()
        return await asyncio.get_running_loop().run_in_executor(
            executor, lambda: context.run(transact, work)
        )

    def close(self) -> None:
        """Wait for running transactions and close every connection."""
        self._writer.shutdown()
        self._readers.shutdown()
        self._engine.dispose()


def _configure_sqlite(connection: DBAPIConnection, _: ConnectionPoolEntry) -> None:
    # The driver must not open transactions by itself: _begin_sqlite does.
    connection.isolation_level = None
    cursor = connection.cursor()
    for pragma in (
        "journal_mode=WAL",
        "synchronous=FULL",
        "busy_timeout=15000",
        "foreign_keys=ON",
    ):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    writes = connection.get_execution_options().get("roundhouse_write", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _is_passing(error: DBAPIError) -> bool:
    if error.connection_invalidated:
        return True
    if getattr(error.orig, "sqlstate", None) in _RETRYABLE_SQLSTATES:
        return True
    if not isinstance(error, OperationalError):
        return False
    if getattr(error.orig, "sqlite_errorname", None) in ("SQLITE_BUSY", "SQLITE_LOCKED"):
        return True
    # psycopg gives no SQLSTATE when it could not reach the server at all.
    return type(error.orig).__module__.startswith("psycopg") and error.orig.sqlstate is None  # type: ignore[union-attr]  # psycopg.Error has it
