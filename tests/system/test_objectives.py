"""An objective that begins to page ends the rollout under way: registry, inference and monitor."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from roundhouse.inference.v1 import rollout_pb2
from roundhouse.monitor.v1 import (
    alert_pb2,
    alert_service_pb2,
    judgement_service_pb2,
    slo_pb2,
    slo_service_pb2,
)

from services.common.rpc.convert import to_duration
from tests.support.inference_api import (
    ENDPOINT,
    TIMEOUT_S,
    InferenceCaller,
    State,
    registry_with_models,
    request_id,
    running_inference,
    state_of,
)
from tests.support.monitor_api import MonitorCaller, running_monitor
from tests.support.monitor_values import MONITOR

pytestmark = pytest.mark.real
PHASES = [
    rollout_pb2.Phase(weight_basis_points=5000, min_outcomes=1_000_000),
    rollout_pb2.Phase(weight_basis_points=10_000),
]
"""No sample is large enough to pass or, with the versions alike, to fail."""

TOO_FAST_S = 1e-6
REQUESTS = 40
"""More than the ten bad ones below which no rule fires."""


async def promise(monitor: MonitorCaller, slo_id: str) -> str:
    """An objective that no request meets, whichever version answers it."""
    slo = slo_pb2.Slo(target=0.99, latency=slo_pb2.Slo.Latency(bound=to_duration(TOO_FAST_S)))
    request = slo_service_pb2.CreateSloRequest(
        parent=MONITOR, slo_id=slo_id, slo=slo, request_id=request_id()
    )
    return (await monitor.slos.CreateSlo(request, timeout=TIMEOUT_S)).name


async def paged(monitor: MonitorCaller, slo: str) -> alert_pb2.Alert:
    """The objective's page, once there is one."""
    request = alert_service_pb2.ListAlertsRequest(parent=MONITOR, filter="severity = PAGE")
    async with asyncio.timeout(TIMEOUT_S):
        while True:
            for alert in (await monitor.alerts.ListAlerts(request, timeout=TIMEOUT_S)).alerts:
                if alert.resource == slo:
                    return alert
            await asyncio.sleep(0.05)


async def ask(inference: InferenceCaller, name: str) -> set[str]:
    """The versions that answered requests of their own ids."""
    answers = [
        await inference.predict(str(number), f"{name}-{number}") for number in range(REQUESTS)
    ]
    return {version for version, _ in answers}


async def judged(monitor: MonitorCaller, rollout: rollout_pb2.Rollout) -> str:
    """What the monitor says of the rollout's phase now."""
    answer = await monitor.judgements.JudgeRollout(
        judgement_service_pb2.JudgeRolloutRequest(
            endpoint=ENDPOINT,
            candidate=rollout.version,
            champion=rollout.previous_version,
            since_time=rollout.outcomes[-1].start_time,
            min_outcomes=PHASES[0].min_outcomes,
        ),
        timeout=TIMEOUT_S,
    )
    return judgement_service_pb2.JudgeRolloutResponse.Verdict.Name(answer.verdict)


async def test_a_page_that_begins_in_a_phase_rolls_back_and_an_older_one_does_not(
    tmp_path: Path,
) -> None:
    async with (
        registry_with_models(tmp_path / "registry") as registry,
        running_monitor(
            tmp_path / "monitor", registry=registry.address, alert_interval_s=0.1
        ) as monitor,
        running_inference(tmp_path / "inference", registry.address, monitor.address) as inference,
    ):
        old, new = await registry.approved(), await registry.approved(1e-6)
        await inference.create_endpoint(old)
        await monitor.create_monitor()
        before = await promise(monitor, "before")
        assert await ask(inference, "calm") == {old.version}
        page = await paged(monitor, before)

        await inference.create_rollout(new, phases=PHASES)
        running = await state_of(inference, "r", State.STATE_RUNNING)
        assert page.create_time.ToNanoseconds() < running.outcomes[0].start_time.ToNanoseconds()
        assert await ask(inference, "shared") == {old.version, new.version}
        assert await judged(monitor, running) == "VERDICT_INCONCLUSIVE"
        assert (await inference.rollout()).state == State.STATE_RUNNING

        during = await promise(monitor, "during")
        await ask(inference, "more")
        ended = await state_of(inference, "r", State.STATE_ROLLED_BACK)
        assert (await paged(monitor, during)).state == alert_pb2.Alert.STATE_OPEN
        (outcome,) = ended.outcomes
        assert outcome.verdict == rollout_pb2.PhaseOutcome.VERDICT_FAIL
        assert outcome.reason.startswith("The objective during pages since the phase began")
        assert await ask(inference, "after") == {old.version}
