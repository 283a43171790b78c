"""What the guide to serving names exists."""

from __future__ import annotations

import asyncio
import re
import shlex
from pathlib import Path

import protovalidate
from prometheus_client import CollectorRegistry
from roundhouse.cli.app import run
from roundhouse.cli.documents import read_document
from roundhouse.cli.failures import Exit
from roundhouse.inference.v1.endpoint_pb2 import Fallback

from services.inference.adapters.meters import PrometheusMeters
from services.inference.adapters.metrics import ObservationMetrics, export_admission
from services.inference.core.admission import Admission
from services.inference.settings import InferenceSettings
from tests.contracts.descriptors import reasons
from tests.inference.test_api_batches import snapshot_of
from tests.support.fake_monitor import fake_monitor
from tests.support.inference_api import registry_with_models, running_inference

GUIDE = (Path(__file__).parents[2] / "docs" / "serving.md").read_text()
NAMED = set(re.findall(r"`([A-Z][A-Z_]+)`", GUIDE))


def test_every_setting_and_reason_that_the_guide_names_exists():
    prefix = InferenceSettings.model_config["env_prefix"]
    named = {name.removeprefix(prefix) for name in NAMED} - {""}
    settings = {name.upper() for name in InferenceSettings.model_fields}
    assert len(named & settings) >= 10
    assert settings | reasons("inference") | {"RESOURCE_EXHAUSTED"} >= named


def test_every_metric_that_the_guide_names_exists():
    registry = CollectorRegistry()
    PrometheusMeters(registry)
    ObservationMetrics(registry)
    export_admission(Admission(max_calls_per_caller=1, max_bytes=1), registry)
    exported = {family.name for family in registry.collect()}
    named = set(re.findall(r"`(roundhouse_\w+)`", GUIDE))
    assert named
    assert {name.removesuffix("_total") for name in named} <= exported


def test_the_guide_s_fallback_is_one(tmp_path):
    (yaml,) = re.findall(r"In `fallback.yaml`:\n\n```yaml\n(.*?)```", GUIDE, re.DOTALL)
    file = tmp_path / "fallback.yaml"
    file.write_text(yaml)
    fallback = read_document(file, Fallback())
    protovalidate.validate(fallback)
    assert fallback.decision.action == "review"


async def test_the_guide_s_commands_predict_a_snapshot(tmp_path, capsys):
    blocks = re.findall(r"```bash\n(roundhouse batches .*?)```", GUIDE, re.DOTALL)
    async with (
        fake_monitor() as monitor,
        registry_with_models(tmp_path / "registry") as registry,
        running_inference(tmp_path / "inference", registry.address, monitor.address) as caller,
    ):
        await registry.approved()
        await snapshot_of(registry)
        before = ["--data-dir", str(tmp_path), "--address", f"inference={caller.address}"]
        for line in "".join(blocks).splitlines():
            command = shlex.split(line)[1:]
            assert await asyncio.to_thread(run, [*before, *command]) == Exit.OK, command
        printed = capsys.readouterr().out
        assert f"101 rows are in file://{tmp_path}/inference/blobs/batches/" in printed
        assert "succeeded, 101 of 101 rows" in printed
        assert "SUCCEEDED" in printed
        assert "february is deleting" in printed
        assert await asyncio.to_thread(run, [*before, "batches", "pause", "february"]) != Exit.OK
