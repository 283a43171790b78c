"""Real processes: logs, traces and signals belong to a process as a whole."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc

from tests.support.probe import SERVICE, Ask, ProbeStub, info_of

ROOT = Path(__file__).resolve().parents[2]


class ProbeProcess:
    def __init__(self, folder, name, **settings):
        self.log = folder / f"{name}.log"
        environment = {
            **os.environ,
            **{f"ROUNDHOUSE_PROBE_{key.upper()}": str(value) for key, value in settings.items()},
        }
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-W", "error", "-m", "tests.support.probe_service", name],
                cwd=ROOT, env=environment, stderr=log,
            )  # fmt: skip

    def lines(self):
        return [json.loads(line) for line in self.log.read_text().splitlines()]

    def stop(self, number=signal.SIGTERM):
        self.process.send_signal(number)
        return self.process.wait(20)


@contextmanager
def probe_process(folder, name, **settings):
    probe = ProbeProcess(folder, name, **settings)
    try:
        yield probe
    finally:
        if probe.process.poll() is None:
            probe.process.kill()
            probe.process.wait()


def wait_until(condition):
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def fetched(request):
    with urllib.request.urlopen(request, timeout=5) as response:
        return response.read().decode()


def up(probe):
    def started():
        assert probe.process.poll() is None, probe.log.read_text()
        text = probe.log.read_text()
        return text.endswith("\n") and "server.serving" in text

    wait_until(started)
    return next(line for line in probe.lines() if line["event"] == "probe.up")


async def test_one_trace_crosses_processes_and_stands_in_spans_and_log_lines(tmp_path):
    traces = tmp_path / "traces.jsonl"
    with probe_process(tmp_path, "back", trace_file=traces) as back:
        behind = f"127.0.0.1:{up(back)['port']}"
        with probe_process(tmp_path, "front", trace_file=traces, behind_address=behind) as front:
            async with grpc.aio.insecure_channel(f"127.0.0.1:{up(front)['port']}") as channel:
                metadata = (("x-correlation-id", "episode-1"),)
                answer = await ProbeStub(channel).ask(Ask(text="a"), timeout=5, metadata=metadata)
            assert answer.text == "back"
            assert front.stop() == 0
        assert back.stop() == 0
    spans = [json.loads(line) for line in traces.read_text().splitlines()]
    by_service = {(s["resource"]["attributes"]["service.name"], s["kind"]): s for s in spans}
    served, called = by_service["front", "SpanKind.SERVER"], by_service["front", "SpanKind.CLIENT"]
    answered = by_service["back", "SpanKind.SERVER"]
    assert len(spans) == 3
    assert served["parent_id"] is None
    assert called["parent_id"] == served["context"]["span_id"]
    assert answered["parent_id"] == called["context"]["span_id"]
    for probe, span in ((front, served), (back, answered)):
        (line,) = [line for line in probe.lines() if line["event"] == "probe.asked"]
        assert f"0x{line['trace_id']}" == span["context"]["trace_id"]
        assert f"0x{line['span_id']}" == span["context"]["span_id"]
        assert line["correlation_id"] == "episode-1"
        assert line["level"] == "info"


class Collector(trace_service_pb2_grpc.TraceServiceServicer):
    def __init__(self):
        self.spans = []

    async def Export(self, request, context):
        for of_resource in request.resource_spans:
            service = of_resource.resource.attributes[0].value.string_value
            for scope in of_resource.scope_spans:
                self.spans += [(service, span.name) for span in scope.spans]
        return trace_service_pb2.ExportTraceServiceResponse()


async def test_spans_reach_a_collector_before_the_process_ends(tmp_path):
    collector, server = Collector(), grpc.aio.server()
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(collector, server)
    endpoint = f"http://127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    with probe_process(tmp_path, "probe", otlp_endpoint=endpoint) as probe:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{up(probe)['port']}") as channel:
            await ProbeStub(channel).ask(Ask(text="a"), timeout=5)
        assert await asyncio.to_thread(probe.stop) == 0
    await server.stop(None)
    assert [name for _, name in collector.spans] == [f"{SERVICE}/Ask"]


async def test_a_collector_that_is_away_does_not_hold_the_process(tmp_path):
    with probe_process(tmp_path, "probe", otlp_endpoint="http://127.0.0.1:1") as probe:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{up(probe)['port']}") as channel:
            await ProbeStub(channel).ask(Ask(text="a"), timeout=5)
        assert probe.stop() == 0


async def test_a_second_signal_cuts_the_drain_short(tmp_path):
    with probe_process(tmp_path, "probe", drain_timeout_s=600) as probe:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{up(probe)['port']}") as channel:
            call = ProbeStub(channel).ask(Ask(text="hang"), timeout=20)
            await asyncio.to_thread(wait_until, lambda: "probe.asked" in probe.log.read_text())
            probe.process.send_signal(signal.SIGTERM)
            wait_until(lambda: "server.draining" in probe.log.read_text())
            assert probe.stop() == 0
            call.cancel()


async def test_a_bug_is_logged_once_with_its_id_and_no_local_variables(tmp_path):
    with probe_process(tmp_path, "probe") as probe:
        address = f"127.0.0.1:{up(probe)['port']}"
        async with grpc.aio.insecure_channel(address) as channel:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await ProbeStub(channel).ask(Ask(text="bug"), timeout=5)
        assert probe.stop() == 0
    (line,) = [line for line in probe.lines() if line["level"] == "error"]
    assert line["error_id"] == info_of(caught.value)[2]["error_id"]
    assert line["exception"][0]["exc_type"] == "KeyError"
    assert "locals" not in json.dumps(line)


async def test_prometheus_finds_the_durations_with_exemplars(tmp_path):
    with probe_process(tmp_path, "probe", trace_file=tmp_path / "traces.jsonl") as probe:
        ports = up(probe)
        async with grpc.aio.insecure_channel(f"127.0.0.1:{ports['port']}") as channel:
            await ProbeStub(channel).ask(Ask(text="a"), timeout=5)
        scrape = urllib.request.Request(
            f"http://127.0.0.1:{ports['metrics_port']}/metrics",
            headers={"Accept": "application/openmetrics-text; version=1.0.0"},
        )
        text = await asyncio.to_thread(fetched, scrape)
        assert 'rpc_server_duration_seconds_count{code="OK"' in text
        assert "trace_id=" in text
        assert probe.stop() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_drains_and_ends_with_zero(tmp_path, number):
    with probe_process(tmp_path, "probe") as probe:
        address = f"127.0.0.1:{up(probe)['port']}"
        async with grpc.aio.insecure_channel(address) as channel:
            call = ProbeStub(channel).ask(Ask(text="wait"), timeout=20)
            await asyncio.to_thread(wait_until, lambda: "probe.asked" in probe.log.read_text())
            probe.process.send_signal(number)
            assert (await call).text == "probe"
        assert probe.process.wait(20) == 0
    events = [line["event"] for line in probe.lines()]
    assert events[-3:] == ["process.signalled", "server.draining", "server.stopped"]


def test_an_unknown_setting_stops_the_start_with_a_sentence(tmp_path):
    with probe_process(tmp_path, "probe", lisen="x") as probe:
        assert probe.process.wait(20) == 1
    assert probe.log.read_text() == (
        "The environment variable ROUNDHOUSE_PROBE_LISEN is no setting. "
        "Did you mean ROUNDHOUSE_PROBE_LISTEN?\n"
    )


_LOGGING_ON = """
import structlog
from services.common.telemetry import LOST_LINES, configure_logs

configure_logs("probe", "info")
for _ in range(1000):
    structlog.get_logger().info("a line of some length that nobody will ever read")
print(LOST_LINES._value.get() > 0)
"""


def test_a_full_disk_under_the_log_fails_nothing_and_is_counted():
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-c", _LOGGING_ON],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=full,
            text=True,
            check=False,
        )
    assert done.stdout == "True\n"
