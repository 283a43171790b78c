"""The dashboard's own HTTP server."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path
from typing import Final

import structlog
from aiohttp import web

from services.common.errors import FieldViolation, InvalidRequest
from services.common.rpc.deadlines import set_time_remaining
from services.common.settings import Address, is_loopback
from services.common.store.database import Database
from services.monitor.api.dashboard.documents import Document
from services.monitor.api.dashboard.families import Families
from services.monitor.api.dashboard.guard import add_headers, own_host_alone, refusals_in_words
from services.monitor.api.dashboard.live import LiveEvents
from services.monitor.api.dashboard.reads import Reads
from services.monitor.api.dashboard.slices import Slices
from services.monitor.api.dashboard.standing import Standing
from services.monitor.api.dashboard.training import Training

log = structlog.get_logger()

_PEERS_TIMEOUT_S: Final = 5.0
"""How long a view waits for another service before it says that it is away."""

_CLOSING_TIMEOUT_S: Final = 1.0
_LONGEST_NAME: Final = 1024


@dataclass(frozen=True, slots=True)
class Views:
    """Where the documents of the views come from.

    Attributes:
        reads: The monitor's own records.
        standing: Budgets and costs.
        training: Incidents, failures and jobs.
        families: Quality by model.
        slices: Quality by slice.
    """

    reads: Reads
    standing: Standing
    training: Training
    families: Families
    slices: Slices


@asynccontextmanager
async def dashboard(listen: Address, views: Views, database: Database) -> AsyncIterator[int]:
    """Serve the page until the block ends; gives the port, also when port 0 was asked for.

    Args:
        listen: Where. There is no login: whoever reaches it may read all of it.
        views: What it shows.
        database: Whose events it tells of.

    Raises:
        OSError: The address is taken or is none of this machine's.
    """
    live = LiveEvents(database)
    app = web.Application(middlewares=[own_host_alone(listen), refusals_in_words])
    app.on_response_prepare.append(add_headers)
    app.on_shutdown.append(live.close)
    host, _, port = listen.rpartition(":")
    with as_file(files(__package__) / "static") as static:
        app.add_routes([*_routes(views, static), web.get("/events", live.stream)])
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=_CLOSING_TIMEOUT_S)
        await runner.setup()
        try:
            await web.TCPSite(runner, host.strip("[]"), int(port)).start()
            bound = int(runner.addresses[0][1])
            log.info("dashboard.started", listen=listen, port=bound)
            if not is_loopback(listen):
                log.warning("dashboard.open", listen=listen, authentication="none")
            yield bound
        finally:
            await runner.cleanup()


def _routes(views: Views, static: Path) -> list[web.AbstractRouteDef]:
    reads, standing, training = views.reads, views.standing, views.training
    families, slices = views.families, views.slices

    async def page(_: web.Request) -> web.FileResponse:
        return web.FileResponse(static / "index.html")

    return [
        web.get("/", page),
        web.static("/static", static),
        web.get("/api/monitors", _json(lambda _: reads.monitors())),
        web.get("/api/explanation", _json(lambda get: reads.explanation(get("monitor")))),
        web.get("/api/loop", _json(lambda get: reads.loop(get("monitor")))),
        web.get("/api/executive", _json(lambda get: reads.executive(get("monitor")))),
        web.get("/api/budgets", _json(lambda get: standing.budgets(get("monitor")))),
        web.get("/api/costs", _json(lambda get: standing.costs(get("monitor")))),
        web.get("/api/families", _json(lambda get: families.of(get("monitor")))),
        web.get("/api/oncall", _json(lambda _: reads.on_call())),
        web.get("/api/incidents", _json(lambda _: training.incidents())),
        web.get("/api/failures", _json(lambda get: training.failures(get("monitor")))),
        web.get("/api/queue", _json(lambda get: training.queue(get("monitor")))),
        web.get("/api/jobs", _json(lambda get: training.newest(get("monitor")))),
        web.get("/api/job", _json(lambda get: training.job(get("name")))),
        web.get("/api/debug", _json(lambda get: reads.debug(get("monitor")))),
        web.get("/api/drift-slices", _json(lambda get: reads.drift_slices(get("report")))),
        web.get("/api/attributions", _json(lambda get: reads.attributions(get("report")))),
        web.get("/api/slices", _json(lambda get: slices.reports(get("monitor")))),
        web.get("/api/report-slices", _json(lambda get: slices.of_report(get("report")))),
        web.get("/api/rollout-slices", _json(lambda get: slices.of_rollout(get("monitor")))),
        web.get(
            "/api/histograms",
            _json(lambda get: reads.histograms(get("report"), get("feature"))),
        ),
    ]


def _json(
    read: Callable[[Callable[[str], str]], Awaitable[Document]],
) -> Callable[[web.Request], Awaitable[web.Response]]:
    """A handler that answers with what `read` gives, which looks parameters up by name."""

    async def handle(request: web.Request) -> web.Response:
        set_time_remaining(_PEERS_TIMEOUT_S)

        def parameter(name: str) -> str:
            value = request.query.get(name, "")
            if not 0 < len(value) <= _LONGEST_NAME:
                violation = f"must have from 1 to {_LONGEST_NAME} characters"
                raise InvalidRequest([FieldViolation(name, violation)])
            return value

        return web.json_response(await read(parameter))

    return handle
