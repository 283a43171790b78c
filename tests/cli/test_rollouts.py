"""Rollouts by commands alone, on the four real services."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import pytest
from roundhouse.cli.failures import Exit
from roundhouse.cli.session import resolve_addresses
from roundhouse.client import Client
from roundhouse.monitor.v1.monitor_pb2 import Monitor
from roundhouse.monitor.v1.monitor_service_pb2 import CreateMonitorRequest

from tests.support.command_line import CommandLine, running_command_line
from tests.support.inference_api import PROJECT, Registered, RegistryWithModels
from tests.support.registry_api import RegistryCaller

pytestmark = pytest.mark.real

_UNTIL_S = 60.0
_LOOK_S = 0.1


async def approved(address: str, *biases: float) -> list[Registered]:
    async with grpc.aio.insecure_channel(address) as channel:
        registry = RegistryWithModels(RegistryCaller(channel), address)
        return [await registry.approved(bias) for bias in biases]


@pytest.fixture(scope="module")
def cli(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CommandLine]:
    """The command, on an endpoint with traffic that serves `delays/1` and has an approved next."""
    with running_command_line(tmp_path_factory.mktemp("suite")) as command:
        addresses = resolve_addresses(command.data_dir, [])
        asyncio.run(approved(addresses.registry, 0.0, 0.01))
        created = command("endpoints", "create", "delays", "--version", "delays/1", "--json")
        assert created.code == Exit.OK, created.err
        with Client(addresses) as client, traffic(client):
            client.monitors.CreateMonitor(
                CreateMonitorRequest(
                    parent=PROJECT,
                    monitor_id="delays",
                    monitor=Monitor(
                        endpoint=f"{PROJECT}/endpoints/delays",
                        dataset=f"{PROJECT}/datasets/flights",
                    ),
                )
            )
            yield command


@contextlib.contextmanager
def traffic(client: Client) -> Iterator[None]:
    """Predictions without a pause."""
    over = threading.Event()

    def predict() -> None:
        for number in itertools.count():
            if over.is_set():
                return
            row = {"distance": float(number % 300), "delay": float(number % 60), "carrier": "AA"}
            client.predict("delays", row)

    caller = threading.Thread(target=predict)
    caller.start()
    try:
        yield
    finally:
        over.set()
        caller.join()


def shown_once(cli: CommandLine, reached: Callable[[Any], bool]) -> Any:
    """What `show --json` prints as soon as the rollout is so far."""
    deadline = time.monotonic() + _UNTIL_S
    while not reached(found := cli("rollouts", "show", "delays", "--json").json):
        assert time.monotonic() < deadline, found
        time.sleep(_LOOK_S)
    return found


def one_line(text: str) -> str:
    return " ".join(text.split())


def test_a_rollout_is_started_shown_advanced_and_compared(cli: CommandLine) -> None:
    phases = ("--phase", "shadow:100:40:50", "--phase", "50:1000000", "--phase", "100")
    checked = cli("rollouts", "start", "delays", "delays/2", *phases, "--check")
    assert checked.code == Exit.OK, checked.err
    assert cli("rollouts", "list", "delays", "--json").json == []
    assert cli("rollouts", "show", "delays").code == Exit.FAILED
    begun = cli("rollouts", "start", "delays", "delays/2", *phases, "--id", "next")
    assert one_line(begun.out) == "next: delays/2 shadow of 100 % -> 50 % -> 100 %"

    # The last of the default tests to have evidence without outcomes.
    found = shown_once(
        cli, lambda now: len(now["outcomes"]) == 2 and len(now["outcomes"][1]["findings"]) == 2
    )
    assert found["outcomes"][0]["verdict"] == "VERDICT_PASS"
    assert [each["measure"] for each in found["outcomes"][1]["findings"]] == [
        "MEASURE_FAILED_SHARE",
        "MEASURE_SLOW_SHARE",
    ]
    assert found["outcomes"][1]["numbers"]["alpha"] == pytest.approx(0.05 / 3)
    (shadow,) = found["shadow_reports"]
    assert int(shadow["compared_requests"]) >= 40
    printed = one_line(cli("rollouts", "show", "delays").out)
    for part in (
        "next: version delays/2 after delays/1, running",
        "Phase 2, 50 %, since",
        "Too early to tell",
        "alpha 0.0167 over all of them",
        "failed share",
        "slow share",
        "delays/2 in the shadow of delays/1",
    ):
        assert part in printed
    assert "Phase 1," not in printed
    assert "Phase 1," in cli("rollouts", "show", "delays", "--every-phase").out

    assert cli("rollouts", "diff", "delays", "--json").json == [shadow]
    assert "same decisions" in cli("rollouts", "diff", "delays").out

    advanced = cli("rollouts", "advance", "delays", "--json").json
    assert advanced["current_phase"] == 2
    assert (
        "ended by hand"
        in cli("rollouts", "advance", "delays").out + cli("rollouts", "watch", "delays").out
    )
    assert cli("rollouts", "watch", "delays").code == Exit.OK
    (listed,) = cli("rollouts", "list", "delays", "--json").json
    assert listed["state"] == "STATE_SUCCEEDED"


def test_a_monitor_that_is_away_is_no_reason_to_show_nothing(cli: CommandLine) -> None:
    begun = cli("rollouts", "start", "delays", "delays/1", "--phase", "1", "--phase", "100")
    assert begun.code == Exit.OK, begun.err
    shown_once(cli, lambda now: now["state"] == "STATE_RUNNING")
    without = cli("--address", "monitor=127.0.0.1:1", "rollouts", "show", "delays")
    assert without.code == Exit.OK
    assert "monitor is away" in without.err
    assert "under way" in without.out
    nothing = cli("rollouts", "diff", "delays")
    assert (nothing.code, "no shadow phase" in nothing.err) == (Exit.FAILED, True)
    back = cli("rollouts", "rollback", "delays", "--reason", "enough seen", "--json").json
    assert back["state"] == "STATE_CANCELLED"


def test_a_drill_is_done_measured_and_listed(cli: CommandLine) -> None:
    drilled = cli("rollouts", "drill", "delays", "--window", "1", "--yes", "--json")
    assert drilled.code == Exit.OK, drilled.err
    done = drilled.json
    assert done["state"] == "STATE_SUCCEEDED"
    assert int(done["measures"]["failed"]) == 0
    assert cli("rollouts", "drills", "delays", "--json").json == [done]
    assert "Drills of delays" in cli("rollouts", "drills", "delays").out


def test_a_rollback_shows_the_approval_of_what_it_brings_back(cli: CommandLine) -> None:
    created = cli("endpoints", "show", "delays", "--json").json
    back = cli("rollouts", "rollback", "delays", "--reason", "it was a test", "--json").json
    assert back["version"].endswith("/versions/1")
    found = shown_once(cli, lambda now: now["state"] == "STATE_SUCCEEDED")
    assert found["rollback_of"]
    assert found["approval"] == created["initial_approval"]
    again = cli("rollouts", "rollback", "delays", "--reason", "once more")
    assert again.code == Exit.REFUSED
    assert cli("rollouts", "drill", "delays", "--yes").code == Exit.REFUSED
