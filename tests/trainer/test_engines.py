"""Which engine a trainer has its workers placed by, and what it tells a worker."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from services.common.blobs.s3 import S3Connection
from services.common.telemetry import TraceSinks
from services.trainer.adapters.ray.engine import RayEngine
from services.trainer.adapters.worker.config import (
    WorkerConfig,
    config_from_json,
    config_to_json,
)
from services.trainer.settings import TrainerSettings

CONFIG = WorkerConfig(
    job="projects/default/trainingJobs/nightly",
    worker="worker-1",
    lanes=2,
    cores=4,
    memory_mib=2048,
    reserved_memory_mib=4096,
    trainer_address="127.0.0.1:7002",
    registry_address="127.0.0.1:7001",
    registry_patience_s=1.5,
    checkpoint_interval_s=1.0,
    blob_url="s3://bucket/trainer",
    s3=S3Connection("127.0.0.1:9000", "key", "secret"),
    log_level="info",
    traces=TraceSinks(None, Path("spans.jsonl"), 0.5),
    encoders={"small": "small_encoder:model"},
)


def test_a_worker_far_away_is_told_what_one_nearby_is_told() -> None:
    document = config_to_json(CONFIG)
    assert config_from_json(document) == CONFIG
    assert "\n" not in document


def test_ray_without_an_address_is_refused() -> None:
    with pytest.raises(ValidationError, match="the engine ray needs ray_address"):
        TrainerSettings(engine="ray")


def test_settings_of_ray_are_refused_where_workers_run_on_this_machine() -> None:
    with pytest.raises(ValidationError, match="ray_address, ray_worker_cores set, but"):
        TrainerSettings(ray_address="127.0.0.1:6379", ray_worker_cores=2)


async def test_a_worker_that_meets_no_cluster_has_ended_with_the_cause() -> None:
    engine = RayEngine("127.0.0.1:1", "")
    assert not engine.ready
    worker = await engine.start(CONFIG)
    assert await worker.wait() == "the Ray cluster is away"
