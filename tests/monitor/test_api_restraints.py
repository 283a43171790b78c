"""A budget policy at work over gRPC: training and rollouts wait, and go on, across restarts."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager

import pytest
from google.protobuf.empty_pb2 import Empty
from google.protobuf.field_mask_pb2 import FieldMask
from roundhouse.cli.app import run
from roundhouse.cli.failures import Exit
from roundhouse.monitor.v1 import judgement_service_pb2, slo_pb2, slo_service_pb2
from roundhouse.trainer.v1 import queue_service_pb2 as queue_pb
from roundhouse.trainer.v1 import queue_service_pb2_grpc as queue_grpc

from services.common.errors import NotFound
from services.common.rpc.convert import from_timestamp
from services.common.rpc.server import serving
from tests.monitor.test_api_alerts import listed
from tests.monitor.test_api_slos import budget, requests
from tests.support.calls import PROJECT, TIMEOUT_S, refused, request_id
from tests.support.eventually import eventually
from tests.support.monitor_api import running_monitor
from tests.support.monitor_values import ENDPOINT, MONITOR

SLO = f"{MONITOR}/slos/answers"
Action = slo_pb2.Slo.BudgetAction
POLICY = [
    slo_pb2.Slo.BudgetRule(action=Action.BUDGET_ACTION_FREEZE_TRAINING, below=0.5, until_above=0.5),
    slo_pb2.Slo.BudgetRule(action=Action.BUDGET_ACTION_STOP_ROLLOUTS, below=0.5, until_above=0.5),
]


class FreezeMissing(NotFound):
    reason = "FREEZE_NOT_FOUND"


class Trainer(queue_grpc.QueueServiceServicer):
    """Its freezes, and how often each was set."""

    def __init__(self) -> None:
        self.freezes: dict[str, queue_pb.Freeze] = {}
        self.set = 0

    async def CreateFreeze(self, request, _):
        self.set += 1
        name = f"{request.parent}/freezes/{request.freeze_id}"
        self.freezes[name] = request.freeze
        return queue_pb.Freeze(name=name)

    async def DeleteFreeze(self, request, _):
        if self.freezes.pop(request.name, None) is None:
            raise FreezeMissing("There is none.")
        return Empty()


@asynccontextmanager
async def running(trainer):
    apis = [
        (
            "roundhouse.trainer.v1.QueueService",
            lambda server: queue_grpc.add_QueueServiceServicer_to_server(trainer, server),
        )
    ]
    async with serving("trainer", "127.0.0.1:0", apis) as server:
        server.set_serving()
        yield f"127.0.0.1:{server.port}"


async def promise(caller, policy):
    slo = slo_pb2.Slo(availability=slo_pb2.Slo.Availability(), target=0.9, budget_policy=policy)
    return await caller.slos.CreateSlo(
        slo_service_pb2.CreateSloRequest(
            parent=MONITOR, slo_id="answers", slo=slo, request_id=request_id()
        ),
        timeout=TIMEOUT_S,
    )


async def hold(caller):
    request = judgement_service_pb2.GetRolloutHoldRequest(endpoint=ENDPOINT)
    return (await caller.judgements.GetRolloutHold(request, timeout=TIMEOUT_S)).reason


async def explained(caller, folder, capsys):
    """What `roundhouse retrains explain` prints for programs, and that it prints for people."""
    words = ["--data-dir", str(folder), "--address", f"monitor={caller.address}"]
    words += ["retrains", "explain", "delays"]
    assert await asyncio.to_thread(run, words) == Exit.OK
    assert "Decided about delays" in capsys.readouterr().out
    assert await asyncio.to_thread(run, [*words, "--json"]) == Exit.OK
    return json.loads(capsys.readouterr().out)


async def test_a_low_budget_freezes_and_stops_across_a_restart_and_a_refilled_one_lets_go(
    tmp_path, capsys
):
    trainer = Trainer()
    async with running(trainer) as peers:
        settings = {"peers": peers, "alert_interval_s": 0.05}
        async with running_monitor(tmp_path / "monitor", **settings) as caller:
            await caller.create_monitor(owner="ops")
            created = await promise(caller, POLICY)
            assert list(created.budget_policy) == POLICY
            assert await hold(caller) == ""
            await caller.observe(("bad", requests("bad", [1] * 9 + [None])))
            await eventually(lambda: trainer.freezes)
            ((name, freeze),) = trainer.freezes.items()
            assert name.startswith(f"{PROJECT}/freezes/budget-")
            assert "until more than 50.0% is left" in freeze.reason
            assert freeze.HasField("expire_time")
            found = await budget(caller)
            assert [each.action for each in found.restraints] == [
                Action.BUDGET_ACTION_FREEZE_TRAINING,
                Action.BUDGET_ACTION_STOP_ROLLOUTS,
            ]
            assert found.restraints[0].reason == freeze.reason
            assert await hold(caller) == found.restraints[1].reason
            earlier = await budget(caller, end=from_timestamp(found.time))
            assert not earlier.restraints
            told = await explained(caller, tmp_path, capsys)
            assert [each["reason"] for each in told["restraints"]] == [
                each.reason for each in found.restraints
            ]
            assert told["decisions"] == []
        set_before = trainer.set
        async with running_monitor(tmp_path / "monitor", **settings) as caller:
            # Who starts over tells the trainer again, and of the same freeze.
            await eventually(lambda: trainer.set > set_before)
            assert list(trainer.freezes) == [name]
            assert list((await budget(caller)).restraints) == list(found.restraints)
            tickets = await listed(caller)
            assert sorted(each.error_class for each in tickets) == [
                "ROLLOUTS_STOPPED",
                "TRAINING_FROZEN",
            ]
            assert {each.severity for each in tickets} == {slo_pb2.ErrorBudget.SEVERITY_TICKET}
            assert len({each.incident for each in tickets}) == 1
            await caller.observe(("good", requests("good", [1] * 40)))
            await eventually(lambda: not trainer.freezes)
            assert await hold(caller) == ""
            assert not (await budget(caller)).restraints
            assert await listed(caller, 'state = "OPEN"') == []


async def test_an_objective_that_is_deleted_while_the_trainer_is_away_lets_go_once_it_is_back(
    tmp_path,
):
    trainer = Trainer()
    async with running(trainer) as peers:
        settings = {"peers": peers, "alert_interval_s": 0.05}
        async with running_monitor(tmp_path / "monitor", **settings) as caller:
            await caller.create_monitor()
            await promise(caller, POLICY[:1])
            await caller.observe(("bad", requests("bad", [None] * 10)))
            await eventually(lambda: trainer.freezes)
    async with running_monitor(tmp_path / "monitor", alert_interval_s=0.05) as caller:
        request = slo_service_pb2.DeleteSloRequest(name=SLO, request_id=request_id())
        await caller.slos.DeleteSlo(request, timeout=TIMEOUT_S)
    assert trainer.freezes
    async with (
        running(trainer) as peers,
        running_monitor(tmp_path / "monitor", peers, alert_interval_s=0.05),
    ):
        await eventually(lambda: not trainer.freezes)


@pytest.mark.parametrize(
    ("rule", "field"),
    [
        ({"below": 0.1, "until_above": 0.2}, "slo.budget_policy[0].action"),
        (
            {"action": Action.BUDGET_ACTION_STOP_ROLLOUTS, "below": 0.3, "until_above": 0.2},
            "slo.budget_policy[0].until_above",
        ),
    ],
)
async def test_a_rule_that_makes_no_sense_is_refused_by_its_field(tmp_path, rule, field):
    async with running_monitor(tmp_path / "monitor") as caller:
        await caller.create_monitor()
        with refused() as refusal:
            await promise(caller, [slo_pb2.Slo.BudgetRule(**rule)])
        assert refusal.fields() == [field]


async def test_a_policy_is_changed_by_its_own_path(tmp_path):
    async with running_monitor(tmp_path / "monitor") as caller:
        await caller.create_monitor()
        created = await promise(caller, POLICY)
        changed = slo_pb2.Slo()
        changed.CopyFrom(created)
        del changed.budget_policy[1:]
        request = slo_service_pb2.UpdateSloRequest(
            slo=changed,
            update_mask=FieldMask(paths=["budget_policy"]),
            request_id=request_id(),
        )
        updated = await caller.slos.UpdateSlo(request, timeout=TIMEOUT_S)
        assert list(updated.budget_policy) == POLICY[:1]
