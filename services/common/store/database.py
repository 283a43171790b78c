"""Transactions on SQLite and PostgreSQL with one meaning.

A transaction is a synchronous function that runs in a thread. Writes of one
database are serial: on SQLite by `BEGIN IMMEDIATE`, on PostgreSQL by an advisory
lock taken first. So use cases need no thought about isolation, and events get
numbers in the order of their commits (docs/decisions/0002).

Transactions that wait for a thread at the same time share one of the database: writes
each inside a savepoint, and none is answered before the one commit is durable
(docs/decisions/0007).
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

import structlog
from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.pool import ConnectionPoolEntry

from services.common.errors import Unavailable
from services.common.store.grouping import Failed, GroupRunner, Outcome, Work

T = TypeVar("T")

log = structlog.get_logger()

_WRITER_LOCK: Final = 0x526F756E64  # "Round": the advisory lock that makes writers serial
_AFTER_COMMIT: Final = "roundhouse_after_commit"
_TOLD: Final = "roundhouse_told"
_LOCK: Final = text("SELECT pg_advisory_xact_lock(:key)")
_MAX_TRIES: Final = 8
_WRITES_PER_COMMIT: Final = 32  # of half a millisecond each: nobody waits long for the last
_READS_PER_VIEW: Final = 8
_RETRYABLE_SQLSTATES: Final = frozenset({"40001", "40P01", "55P03"})


def after_commit(connection: Connection, act: Callable[[], None]) -> None:
    """Call `act` in this thread once the running write has committed; never if it doesn't."""
    connection.info[_AFTER_COMMIT].append(act)


def tell_after_commit(connection: Connection) -> None:
    """Have those that `Database.on_event` named called once the running write has committed."""
    after_commit(connection, connection.info[_TOLD])


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
        # A writer with a connection of its own keeps its page cache, and its lock out of reads.
        self._to_write = self._open(parsed, connections=1, begin="BEGIN IMMEDIATE")
        self._to_read = self._open(parsed, connections=readers, begin="BEGIN")
        if self.dialect == "postgresql":
            self._to_read = self._to_read.execution_options(
                isolation_level="REPEATABLE READ", postgresql_readonly=True
            )
        self._writes = GroupRunner(
            self._write_together, threads=1, name="db-write", limit=_WRITES_PER_COMMIT
        )
        self._reads = GroupRunner(
            self._read_together, threads=readers, name="db-read", limit=_READS_PER_VIEW
        )
        self._write_listeners: list[Callable[[], None]] = []
        self._event_listeners: list[Callable[[], None]] = []
        self._told = threading.Event()

    def _open(self, url: URL, *, connections: int, begin: str) -> Engine:
        # The connection used last has the freshest cache.
        engine = create_engine(url, pool_size=connections, max_overflow=0, pool_use_lifo=True)
        if self.dialect == "sqlite":
            event.listen(engine, "connect", _configure_sqlite)
            event.listen(engine, "begin", lambda connection: connection.exec_driver_sql(begin))
        return engine

    async def read(self, work: Callable[[Connection], T]) -> T:
        """What `work` gives, from one consistent view of the data.

        Raises:
            DatabaseUnavailable: The database does not answer.
        """
        return await self._reads.run(work)

    async def write(self, work: Callable[[Connection], T]) -> T:
        """What `work` gives, once everything it wrote is durable; nothing if it raises.

        `work` may run more than once, so it must not act outside the database.

        Raises:
            DatabaseUnavailable: The database does not answer.
        """
        result = await self._writes.run(work)
        for listener in self._write_listeners:
            listener()
        if self._told.is_set():
            self._told.clear()
            for listener in self._event_listeners:
                listener()
        return result

    def on_write(self, listener: Callable[[], None]) -> None:
        """Call `listener` in the event loop after each `write` that has committed."""
        self._write_listeners.append(listener)

    def on_event(self, listener: Callable[[], None]) -> None:
        """As `on_write`, but only where the outbox was told of something."""
        self._event_listeners.append(listener)

    def read_now(self, work: Callable[[Connection], T]) -> T:
        """`read` for callers that already run in a thread; blocks."""
        return self._transact(self._to_read, work)

    def write_now(self, work: Callable[[Connection], T]) -> T:
        """`write` for callers that already run in a thread; blocks."""
        if self.dialect == "sqlite":
            return self._transact(self._to_write, work)

        def serially(connection: Connection) -> T:
            connection.execute(_LOCK, {"key": _WRITER_LOCK})
            return work(connection)

        return self._transact(self._to_write, serially)

    def _read_together(self, works: Sequence[Work[Connection]]) -> Sequence[Outcome]:
        return _together(self.read_now, works, lambda connection, work: work(connection))

    def _write_together(self, works: Sequence[Work[Connection]]) -> Sequence[Outcome]:
        return _together(self.write_now, works, _in_savepoint)

    def _transact(self, engine: Engine, work: Callable[[Connection], T]) -> T:
        for tried in range(1, _MAX_TRIES + 1):
            acts: list[Callable[[], None]] = []
            try:
                with engine.begin() as connection:
                    connection.info[_AFTER_COMMIT] = acts
                    connection.info[_TOLD] = self._told.set
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

    def close(self) -> None:
        """Wait for running transactions and close every connection."""
        self._writes.close()
        self._reads.close()
        self._to_write.dispose()
        self._to_read.dispose()


def _configure_sqlite(connection: DBAPIConnection, _: ConnectionPoolEntry) -> None:
    # The driver must not open transactions by itself: the listener of `begin` does.
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


def _together(
    transact: Callable[[Callable[[Connection], Any]], Any],
    works: Sequence[Work[Connection]],
    call: Callable[[Connection, Work[Connection]], Any],
) -> Sequence[Outcome]:
    """The outcomes of the works in one transaction, or of each alone where that fails."""
    if len(works) > 1:
        try:
            outcomes: list[Outcome] = transact(
                lambda connection: [_called(call, connection, work) for work in works]
            )
        except DBAPIError as error:
            log.warning("database.group_split", works=len(works), error=type(error.orig).__name__)
        else:
            return outcomes
    return [_alone(transact, work) for work in works]


def _called(
    call: Callable[[Connection, Work[Connection]], Any],
    connection: Connection,
    work: Work[Connection],
) -> Outcome:
    try:
        return call(connection, work)
    except DBAPIError:
        raise  # the transaction may be broken for all
    except Exception as error:  # noqa: BLE001 - raised again in the caller whose work it is
        return Failed(error)


def _alone(transact: Callable[[Work[Connection]], Any], work: Work[Connection]) -> Outcome:
    try:
        return transact(work)
    except Exception as error:  # noqa: BLE001 - raised again in the caller
        return Failed(error)


def _in_savepoint(connection: Connection, work: Callable[[Connection], T]) -> T:
    """What `work` gives; nothing of it stays in the transaction if it raises."""
    acts: list[Callable[[], None]] = connection.info[_AFTER_COMMIT]
    acts_before = len(acts)
    connection.exec_driver_sql("SAVEPOINT work")
    try:
        result = work(connection)
    except BaseException:
        del acts[acts_before:]
        connection.exec_driver_sql("ROLLBACK TO SAVEPOINT work")
        connection.exec_driver_sql("RELEASE SAVEPOINT work")
        raise
    connection.exec_driver_sql("RELEASE SAVEPOINT work")
    return result


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
