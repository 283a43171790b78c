"""`python -m services.trainer` runs the trainer until SIGTERM or SIGINT."""

from __future__ import annotations

from services.common.rpc.process import run_service
from services.common.settings import load_settings
from services.common.telemetry import telemetry
from services.trainer.settings import TrainerSettings
from services.trainer.wiring import trainer


def main() -> None:
    """Run the trainer with the settings of the environment."""
    settings = load_settings(TrainerSettings)
    with telemetry("trainer", settings):
        run_service(_serve(settings))


async def _serve(settings: TrainerSettings) -> None:
    async with trainer(settings) as server:
        await server.serve_forever()


if __name__ == "__main__":
    main()
