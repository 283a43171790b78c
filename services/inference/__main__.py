"""`python -m services.inference` runs the inference service until SIGTERM or SIGINT."""

from __future__ import annotations

from services.common.rpc.process import run_service
from services.common.settings import load_settings
from services.common.telemetry import telemetry
from services.inference.settings import InferenceSettings
from services.inference.wiring import inference


def main() -> None:
    """Run the service with the settings of the environment."""
    settings = load_settings(InferenceSettings)
    with telemetry("inference", settings):
        run_service(_serve(settings))


async def _serve(settings: InferenceSettings) -> None:
    async with inference(settings) as server:
        await server.serve_forever()


if __name__ == "__main__":
    main()
