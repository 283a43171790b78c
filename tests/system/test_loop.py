"""The whole loop with four real processes and stock Triton clients, nothing killed."""

from __future__ import annotations

import secrets

import grpc
import pytest
from roundhouse.monitor.v1 import ingest_service_pb2
from roundhouse.monitor.v1 import judgement_service_pb2 as judgement
from roundhouse.monitor.v1.judgement_service_pb2_grpc import JudgementServiceStub
from roundhouse.registry.v1 import model_pb2, model_service_pb2

from tests.system.clients import Clients, all_answered, answered, clients_of, request_id, until
from tests.system.invariants import violations
from tests.system.loop import LoopResult, run_loop
from tests.system.scenario import ENDPOINT, MODEL
from tests.system.suite import SERVICES, running_suite
from tests.system.traffic import outcomes_of
from tests.system.world import shrunken_world

pytestmark = [pytest.mark.real, pytest.mark.timeout(280)]


def kinds(cause: judgement.Cause) -> set[str]:
    return {cause.kind}.union(*(kinds(below) for below in cause.causes))


async def test_a_changed_world_brings_one_new_version_into_service(tmp_path):
    async with running_suite(tmp_path) as suite, clients_of(suite) as clients:
        result = await run_loop(suite, clients, shrunken_world())
        assert await violations(suite, clients, result) == []

        assert result.log.failures == [], "a stock client saw an error through the canary"
        assert result.log.answers_by_version().keys() == {
            result.first.version,
            result.episode.candidate,
        }

        trace_id = secrets.token_hex(16)
        # A bare channel: where this process traces, too, ours would put its own trace there.
        async with grpc.aio.insecure_channel(suite.address("monitor")) as channel:
            explained = await JudgementServiceStub(channel).ExplainServing(
                judgement.ExplainServingRequest(endpoint=ENDPOINT),
                timeout=20,
                metadata=(("traceparent", f"00-{trace_id}-{secrets.token_hex(8)}-01"),),
            )
        assert explained.root.kind == "endpoint"
        assert {"version", "rollout", "approval", "gate_result", "training_job"} <= kinds(
            explained.root
        )
        assert {"snapshot", "episode", "decision", "drift_report"} <= kinds(explained.root)

        async def recorded() -> bool:
            return all(trace_id in suite.trace_ids(service) for service in SERVICES)

        await until(recorded, what="trace across all four services", timeout_s=60)

        whole = result.episode.name.rpartition("/")[2]
        seen_by = [service for service in SERVICES if whole in suite.trace_ids(service)]
        assert seen_by == list(SERVICES), "an episode is one trace across all four services"
        assert ("trainer.attempt", whole) in suite.spans("trainer")
        registry, monitor = suite.metrics("registry"), suite.metrics("monitor")
        assert registry[event_of("registry.version.ready")] == 2
        assert monitor['roundhouse_monitor_rows_total{kind="outcomes"}'] > 0
        assert suite.metrics("trainer")['roundhouse_trainer_jobs{state="QUEUED"}'] == 0

        watched = await answered(
            clients.judgements.ExplainServing,
            judgement.ExplainServingRequest(endpoint=ENDPOINT),
        )
        assert watched == explained, "what is past does not change"

        await plant_faults(clients, result)
        found = await violations(suite, clients, result)
        assert {sentence.partition(":")[0] for sentence in found} == {
            "versions",
            "outcomes that differ",
        }


def event_of(kind: str) -> str:
    """The sample that counts the events of one kind."""
    return f'roundhouse_events_total{{type="roundhouse.{kind}"}}'


async def plant_faults(clients: Clients, result: LoopResult) -> None:
    """A version that is stuck in its upload, and an outcome that was told twice."""
    await answered(
        clients.models.BeginVersionUpload,
        model_service_pb2.BeginVersionUploadRequest(
            parent=MODEL, version=model_pb2.ModelVersion(), request_id=request_id("planted")
        ),
    )
    twice = ingest_service_pb2.IngestOutcomesRequest(
        batch_id="planted", arrow_stream=outcomes_of(result.log.predictions[:1])
    )
    await all_answered(clients.ingest.IngestOutcomes, lambda: iter([twice]))
