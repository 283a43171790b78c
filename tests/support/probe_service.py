"""A whole service process over the probe: settings, telemetry, server, drain."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import structlog

from services.common.rpc.client import connect
from services.common.rpc.process import run_service
from services.common.rpc.server import ServerLimits, serving
from services.common.settings import Address, CommonSettings, load_settings
from services.common.telemetry import telemetry
from tests.support.probe import Answer, Ask, Probe, ProbeStub

log = structlog.get_logger()


class ProbeSettings(CommonSettings, env_prefix="ROUNDHOUSE_PROBE_"):
    """Free ports, and perhaps another probe to forward to."""

    listen: Address = "127.0.0.1:0"
    metrics_listen: Address = "127.0.0.1:0"
    data_dir: Path = Path(".roundhouse/probe")
    behind_address: Address | None = None
    """The probe that `Ask` forwards to; unset answers by itself."""


async def main(name: str, settings: ProbeSettings) -> None:
    behind = ProbeStub(connect(settings.behind_address)) if settings.behind_address else None

    async def ask(request, context):
        log.info("probe.asked", text=request.text)
        if request.text == "bug":
            raise KeyError("secret")
        if request.text == "wait":
            await asyncio.sleep(1)
        if request.text == "hang":
            await asyncio.Event().wait()
        return Answer(text=name) if behind is None else await behind.ask(Ask(text=request.text))

    limits = ServerLimits(drain_timeout_s=settings.drain_timeout_s)
    with telemetry(name, settings) as running:
        async with serving(name, settings.listen, [Probe(ask=ask).api()], limits) as server:
            log.info("probe.up", port=server.port, metrics_port=running.metrics_port)
            await server.serve_forever()


if __name__ == "__main__":
    run_service(main(sys.argv[1], load_settings(ProbeSettings)))
