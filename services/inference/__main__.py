"""`python -m services.inference` runs the inference service until SIGTERM or SIGINT."""

from __future__ import annotations

import gc
from typing import Final

from services.common.rpc.process import run_service
from services.common.settings import load_settings
from services.common.telemetry import telemetry
from services.inference.settings import InferenceSettings
from services.inference.wiring import inference

_COLLECT_AFTER_ALLOCATIONS: Final = 20_000


def main() -> None:
    """Run the service with the settings of the environment."""
    settings = load_settings(InferenceSettings)
    with telemetry("inference", settings):
        run_service(_serve(settings))


async def _serve(settings: InferenceSettings) -> None:
    async with inference(settings) as server:
        # What start-up made lives as long as the process: looking through it again and again
        # took a sixth of the time of small models' answers.
        gc.collect()
        gc.freeze()
        gc.set_threshold(_COLLECT_AFTER_ALLOCATIONS)
        await server.serve_forever()


if __name__ == "__main__":
    main()
