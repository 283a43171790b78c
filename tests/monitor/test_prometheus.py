"""A fault that the monitor, a real Prometheus and a real Alertmanager are to see alike."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import grpc
import onnx
import pytest
from onnx import TensorProto, helper
from prometheus_client import REGISTRY, CollectorRegistry, start_http_server
from roundhouse.cli.grafana import dashboard
from roundhouse.monitor.v1.slo_pb2 import ErrorBudget, Slo
from roundhouse.monitor.v1.slo_service_pb2 import (
    CreateSloRequest,
    DeleteSloRequest,
    GetErrorBudgetRequest,
)

from services.common.rpc.convert import to_duration
from services.trainer.adapters.metrics import supervised
from tests.support.bundles import TinyModel, tiny_files
from tests.support.calls import TIMEOUT_S, request_id
from tests.support.eventually import eventually
from tests.support.inference_api import ENDPOINT, registry_with_models, running_inference
from tests.support.monitor_api import running_monitor
from tests.support.monitor_values import MONITOR
from tests.support.prometheus import PrometheusServer, promtool

ANSWERS, FAST = f"{MONITOR}/slos/answers", f"{MONITOR}/slos/fast"
CONSUMED = "roundhouse_monitor_slo_budget_consumed_ratio"
POISON = 550.0
OBJECTIVES = {
    "answers": Slo(availability=Slo.Availability(), target=0.999),
    "fast": Slo(latency=Slo.Latency(bound=to_duration(5.0)), target=0.5),
    "right": Slo(quality=Slo.Quality(metric="auc", bar=0.5), target=0.5),
}


def fragile() -> bytes:
    """The tiny model, which can't answer where the delay is above 500."""
    model = onnx.load_model_from_string(TinyModel().onnx())
    nodes = [
        helper.make_node("Greater", ["delay", "limit"], ["above"]),
        helper.make_node("Cast", ["above"], ["place"], to=TensorProto.INT64),
        # There is nothing at place 1.
        helper.make_node("Gather", ["zero", "place"], ["nothing"]),
        helper.make_node("Add", ["logit", "nothing"], ["checked"]),
    ]
    before = next(i for i, node in enumerate(model.graph.node) if node.op_type == "Sigmoid")
    model.graph.node[before].input[0] = "checked"
    for node in reversed(nodes):
        model.graph.node.insert(before, node)
    model.graph.initializer.append(helper.make_tensor("limit", TensorProto.FLOAT, [1], [500.0]))
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def rules_of_delays(address: str) -> subprocess.CompletedProcess[str]:
    """What the command line prints, without what the services of this process log."""
    options = ("--address", f"monitor={address}")
    return subprocess.run(
        [sys.executable, "-m", "roundhouse.cli.app", *options, "slos", "rules", "delays"],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )


def shown() -> list[str]:
    """The expression of each curve of Grafana's dashboard, for all endpoints."""
    return [
        target["expr"].replace("$__rate_interval", "1m").replace("$endpoint", ".*")
        for panel in dashboard()["panels"]
        for target in panel.get("targets", ())
    ]


@contextmanager
def exported(registry: CollectorRegistry) -> Iterator[str]:
    """Where a registry's metrics are read."""
    server, thread = start_http_server(0, "127.0.0.1", registry)
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def metrics():
    # What a trainer without jobs tells; the other three services run.
    supervised([], 0)
    registry = CollectorRegistry()
    with exported(registry) as inference, exported(REGISTRY) as services:
        yield registry, [inference, services]


async def test_what_breaks_fires_in_prometheus_in_alertmanager_and_in_the_monitor(
    tmp_path, metrics, alertmanager_server
):
    registry_of_metrics, targets = metrics
    owner = uuid.uuid4().hex
    settings = {"alert_interval_s": 0.1, "alertmanager_urls": alertmanager_server.url}
    async with (
        registry_with_models(tmp_path / "registry") as registry,
        running_monitor(tmp_path / "monitor", **settings) as monitor,
        running_inference(
            tmp_path / "inference", registry.address, monitor.address, registry_of_metrics
        ) as inference,
    ):
        files = {**tiny_files(), "model.onnx": fragile()}
        await inference.create_endpoint(await registry.approved(files=files))
        await monitor.create_monitor(endpoint=ENDPOINT, owner=owner)
        for slo_id, slo in OBJECTIVES.items():
            request = CreateSloRequest(
                parent=MONITOR, slo_id=slo_id, slo=slo, request_id=request_id()
            )
            await monitor.slos.CreateSlo(request, timeout=TIMEOUT_S)

        printed = await asyncio.to_thread(rules_of_delays, monitor.address)
        assert "right counts quality" in printed.stderr
        (tmp_path / "rules.yaml").write_text(printed.stdout)
        checked = await asyncio.to_thread(promtool, "check", "rules", tmp_path / "rules.yaml")
        assert checked.returncode == 0, checked.stdout + checked.stderr

        folder = tmp_path / "prometheus"
        folder.mkdir()
        prometheus = await asyncio.to_thread(
            PrometheusServer,
            folder,
            targets=targets,
            rules=printed.stdout,
            alertmanager=alertmanager_server.address,
        )
        try:

            def counted(slo: str) -> float:
                (sample,) = prometheus.query(f'slo:events:increase1h{{slo="{slo}"}}') or [None]
                return float(sample["value"][1]) if sample else 0.0

            def shows_spent(slo: str, consumed: float) -> bool:
                samples = prometheus.query(f'{CONSUMED}{{slo="{slo}"}}')
                return [float(each["value"][1]) for each in samples] == pytest.approx([consumed])

            await eventually(lambda: bool(prometheus.query("roundhouse_inference_requests_total")))
            for _ in range(20):
                await inference.predict()
            await eventually(lambda: counted(ANSWERS) >= 20 and counted(FAST) >= 20)
            assert prometheus.firing() == set()
            assert alertmanager_server.alerts(owner=owner) == []

            for _ in range(20):
                with pytest.raises(grpc.aio.AioRpcError):
                    await inference.predict(delay=POISON)
            both = {(ANSWERS, "page"), (ANSWERS, "ticket")}
            await eventually(lambda: prometheus.firing() == both)

            def known() -> set[tuple[str, str, str]]:
                names = ("alertname", "slo", "severity")
                alerts = alertmanager_server.alerts(owner=owner)
                return {tuple(each["labels"][name] for name in names) for each in alerts}

            expected = {("SloBurnRate", slo, severity) for slo, severity in both}
            await eventually(
                lambda: known() == {*expected, ("RoundhouseBurnRate", ANSWERS, "page")}
            )
            for slo, firing in ((ANSWERS, {"page", "ticket"}), (FAST, set())):
                budget = await monitor.slos.GetErrorBudget(
                    GetErrorBudgetRequest(name=slo), timeout=TIMEOUT_S
                )
                assert {
                    ErrorBudget.Severity.Name(rate.severity).removeprefix("SEVERITY_").lower()
                    for rate in budget.burn_rates
                    if rate.firing
                } == firing
                await eventually(partial(shows_spent, slo, budget.consumed))
            assert prometheus.firing() == both
            # A rate takes two samples of a counter that came with its first event.
            for expression in shown():
                await eventually(partial(prometheus.shows, expression))

            assert shows_spent(f"{MONITOR}/slos/right", 0.0)
            gone = DeleteSloRequest(name=f"{MONITOR}/slos/right", request_id=request_id())
            await monitor.slos.DeleteSlo(gone, timeout=TIMEOUT_S)
            await eventually(lambda: len(prometheus.query(CONSUMED)) == len(OBJECTIVES) - 1)
        finally:
            prometheus.stop()
