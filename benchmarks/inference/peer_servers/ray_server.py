"""`ray_server.py PORT FOLDER`: each model at `/ID`, batched across callers by Ray Serve."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import Any

import ray
from onnx_rows import OnnxRows, models
from ray import serve
from starlette.requests import Request


class Rows:
    """One model in one replica."""

    def __init__(self, path: Path) -> None:
        self._model = OnnxRows(path)

    @serve.batch(max_batch_size=64, batch_wait_timeout_s=0.001)
    async def run(self, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """The outputs of each row that came together."""
        return self._model.run(rows)

    async def __call__(self, request: Request) -> dict[str, Any]:
        """The outputs of the row that is the body."""
        return await self.run(await request.json())


if __name__ == "__main__":
    _, port, folder = sys.argv
    here = str(Path(__file__).resolve().parent)
    ray.init(
        num_cpus=2,
        include_dashboard=False,
        object_store_memory=100 << 20,
        runtime_env={"env_vars": {"PYTHONPATH": here}},
        _node_ip_address="127.0.0.1",
    )
    serve.start(
        http_options={"host": "127.0.0.1", "port": int(port)},
        logging_config={"log_level": "WARNING", "enable_access_log": False},
    )
    deployment = serve.deployment(
        num_replicas=1,
        max_ongoing_requests=256,
        ray_actor_options={"num_cpus": 0},
        logging_config={"log_level": "WARNING", "enable_access_log": False},
    )(Rows)
    for name, path in models(folder).items():
        serve.run(deployment.bind(path), name=name, route_prefix=f"/{name}")
    signal.sigwait({signal.SIGTERM})
    ray.shutdown()
