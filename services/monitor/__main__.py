"""`python -m services.monitor` runs the monitor until SIGTERM or SIGINT."""

from __future__ import annotations

from services.common.rpc.process import run_service
from services.common.settings import load_settings
from services.common.telemetry import telemetry
from services.monitor.settings import MonitorSettings
from services.monitor.wiring import monitor


def main() -> None:
    """Run the monitor with the settings of the environment."""
    settings = load_settings(MonitorSettings)
    with telemetry("monitor", settings):
        run_service(_serve(settings))


async def _serve(settings: MonitorSettings) -> None:
    async with monitor(settings) as server:
        await server.serve_forever()


if __name__ == "__main__":
    main()
