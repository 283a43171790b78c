"""Resolve, list and filter a model of 100, 10,000 and 100,000 versions, call by call in turn."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from statistics import median
from typing import Any, Final

import grpc
from roundhouse.registry.v1 import model_service_pb2 as pb
from roundhouse.registry.v1 import model_service_pb2_grpc as pb_grpc
from sqlalchemy import Connection

from benchmarks.harness import Bar, Row
from services.common.resources import Meta
from services.common.store.database import Database
from services.registry.adapters.database.documents import ALIASES, MODELS, VERSIONS
from services.registry.adapters.database.tables import JOURNAL_HEAD, MODEL
from services.registry.core.aliases import Alias
from services.registry.core.bundles import BundleFile
from services.registry.core.models import Model
from services.registry.core.policies import PromotionPolicy
from services.registry.core.versions import Ancestry, ModelVersion, VersionState
from tests.support.calls import PROJECT

_FLAT_WITHIN: Final = 1.5
_CALL_S: Final = 30.0
_PAGE: Final = 50
_ROWS_AT_ONCE: Final = 5000
_START: Final = datetime(2026, 1, 1, tzinfo=UTC)
_NAME: Final = f"{PROJECT}/models/grown"
_ALIAS: Final = f"{_NAME}/aliases/champion"
_RESOLVE: Final = "resolve an alias"


def fill(database_url: str, versions: int) -> None:
    """Put a model with so many versions into a migrated database, row by row.

    Args:
        database_url: Of a database whose registry doesn't run.
        versions: How many; each hundredth is DEPRECATED, each tenth of another team.
    """
    database = Database(database_url)
    try:
        for start in range(1, versions + 1, _ROWS_AT_ONCE):
            end = min(start + _ROWS_AT_ONCE, versions + 1)
            rows = [VERSIONS.to_row(_version(number)) for number in range(start, end)]
            database.write_now(partial(_add_versions, rows=rows))
        database.write_now(lambda tx: _add_model(tx, versions))
    finally:
        database.close()


def _add_versions(connection: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    connection.execute(VERSIONS.statements.insert, rows)


def _add_model(connection: Connection, versions: int) -> None:
    model = Model(_meta(_NAME, 0, {}), "", PromotionPolicy())
    row = {**MODELS.to_row(model), "version_count": versions}
    connection.execute(MODEL.insert(), row)
    alias = Alias(_meta(_ALIAS, 0, {}), f"{_NAME}/versions/{versions // 2}")
    connection.execute(ALIASES.statements.insert, ALIASES.to_row(alias))
    # As if the record of it all had been shipped: it would be one of a hundred megabytes.
    connection.execute(JOURNAL_HEAD.update().values(seq=1))


def _version(number: int) -> ModelVersion:
    digest = f"sha256:{hashlib.sha256(str(number).encode()).hexdigest()}"
    return ModelVersion(
        meta=_meta(f"{_NAME}/versions/{number}", number, {"team": f"team-{number % 10}"}),
        number=number,
        state=VersionState.DEPRECATED if number % 100 == 50 else VersionState.READY,
        ancestry=Ancestry((), f"{PROJECT}/trainingJobs/{number:032x}", ""),
        files=(BundleFile("model.onnx", 2000, digest),),
        digest=digest,
    )


def _meta(name: str, number: int, labels: dict[str, str]) -> Meta:
    moment = _START + timedelta(seconds=number)
    return Meta(name, f"{number:032x}", 1, moment, moment, labels)


class Grown:
    """A running registry whose model has so many versions.

    Args:
        address: `host:port`.
        versions: How many its model has.
    """

    def __init__(self, address: str, versions: int) -> None:
        self.versions = versions
        self._models = pb_grpc.ModelServiceStub(grpc.insecure_channel(address))
        middle = f"{_NAME}/versions/{versions // 2}"
        job = f"{PROJECT}/trainingJobs/{versions // 2:032x}"
        digest = self._models.GetVersion(pb.GetVersionRequest(name=middle), timeout=_CALL_S).digest
        self.calls: dict[str, Callable[[], None]] = {
            _RESOLVE: self._resolve,
            "list the first page": lambda: self._list(),
            "list the newest": lambda: self._list(order_by="create_time desc"),
            "list a page in the middle": self._list_in_the_middle(),
            "filter by state": lambda: self._list("state = DEPRECATED"),
            "filter by training job": lambda: self._list(f'training_job = "{job}"', least=1),
            "filter by digest": lambda: self._list(f'digest = "{digest}"', least=1),
            "filter by label": lambda: self._list("labels.team = team-7"),
        }

    def _resolve(self) -> None:
        self._models.GetVersion(pb.GetVersionRequest(name=_ALIAS), timeout=_CALL_S)

    def _list(
        self, filter_: str = "", *, order_by: str = "", token: str = "", least: int = 0
    ) -> None:
        request = pb.ListVersionsRequest(
            parent=_NAME, page_size=_PAGE, filter=filter_, order_by=order_by, page_token=token
        )
        found = self._models.ListVersions(request, timeout=_CALL_S).versions
        if len(found) < least:
            raise RuntimeError(f"{filter_} found {len(found)} versions")

    def _list_in_the_middle(self) -> Callable[[], None]:
        token, passed = "", 0
        while passed < self.versions // 2:
            size = min(1000, self.versions // 2)
            request = pb.ListVersionsRequest(parent=_NAME, page_size=size, page_token=token)
            token = self._models.ListVersions(request, timeout=_CALL_S).next_page_token
            passed += size
        return lambda: self._list(token=token)


def latencies(registries: Sequence[Grown], *, rounds: int, calls: int) -> list[Row]:
    """The p99 of each call at each size, in milliseconds; the registries are called in turn.

    Args:
        registries: Smallest first.
        rounds: How often each is measured.
        calls: Of each kind, per round.
    """
    rows = []
    for kind in registries[0].calls:
        rounds_ms: dict[int, list[list[float]]] = {each.versions: [] for each in registries}
        for _ in range(rounds):
            for taken in rounds_ms.values():
                taken.append([])
            for _ in range(calls):
                for each in registries:
                    started = time.perf_counter()
                    each.calls[kind]()
                    took_ms = (time.perf_counter() - started) * 1000
                    rounds_ms[each.versions][-1].append(took_ms)
        for versions, taken in rounds_ms.items():
            p99s = tuple(_quantile(each, 0.99) for each in taken)
            p50 = median(_quantile(each, 0.5) for each in taken)
            name = _row_name(kind, versions)
            rows.append(Row(name, "ms (p99)", median(p99s), p99s, {"p50_ms": p50}))
    return rows


def bars(rows: Sequence[Row], sizes: Sequence[int]) -> list[Bar]:
    """Resolving takes as long among many versions as among few."""
    value = {row.name: row.value for row in rows}
    few = value[_row_name(_RESOLVE, sizes[0])]
    return [
        Bar.at_most(
            f"{_RESOLVE}, p99 at {size:,} / at {sizes[0]:,} versions",
            value[_row_name(_RESOLVE, size)] / few,
            _FLAT_WITHIN,
            "ratio",
        )
        for size in sizes[1:]
    ]


def _quantile(values: Sequence[float], share: float) -> float:
    return sorted(values)[int(len(values) * share)]


def _row_name(kind: str, versions: int) -> str:
    return f"{kind}, {versions:,} versions"
