"""`python -m services.registry` runs the registry until SIGTERM or SIGINT."""

from __future__ import annotations

from services.common.rpc.process import run_service
from services.common.settings import load_settings
from services.common.telemetry import telemetry
from services.registry.settings import RegistrySettings
from services.registry.wiring import registry


def main() -> None:
    """Run the registry with the settings of the environment."""
    settings = load_settings(RegistrySettings)
    with telemetry("registry", settings):
        run_service(_serve(settings))


async def _serve(settings: RegistrySettings) -> None:
    async with registry(settings) as server:
        await server.serve_forever()


if __name__ == "__main__":
    main()
