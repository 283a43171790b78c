"""Objectives as OpenSLO documents."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path

import pytest
import yaml
from google.protobuf.duration_pb2 import Duration
from roundhouse.cli.app import run
from roundhouse.cli.failures import Exit, UsageFault
from roundhouse.cli.openslo import as_openslo, read_openslo
from roundhouse.monitor.v1.slo_pb2 import Slo

from tests.support.monitor_api import running_monitor

NAME = "projects/default/monitors/delays/slos/fast"
DOCUMENT = (Path(__file__).parents[2] / "docs" / "slos.md").read_text()
SLOS = (
    Slo(availability=Slo.Availability()),
    Slo(latency=Slo.Latency(bound=Duration(nanos=300_000_000)), owner="ops", runbook="https://r"),
    Slo(quality=Slo.Quality(metric="log_loss", bar=0.4, min_outcomes=9), description="Ça va."),
    Slo(jobs=Slo.Jobs()),
)


def complete(slo: Slo) -> Slo:
    made = Slo(target=0.999, window=Duration(seconds=28 * 86_400), min_bad_events=7)
    made.MergeFrom(slo)
    return made


def test_what_is_exported_is_imported_again(tmp_path: Path) -> None:
    wanted = [complete(slo) for slo in SLOS]
    texts = []
    for slo in wanted:
        named = Slo(name=NAME)
        named.MergeFrom(slo)
        texts.append(as_openslo(named))
    file = tmp_path / "slos.yaml"
    file.write_text("---\n".join(texts))
    assert read_openslo(file) == [("delays", "fast", slo) for slo in wanted]


@pytest.mark.parametrize(
    ("path", "value", "told"),
    [
        (("apiVersion",), "openslo/v2", "apiVersion must be openslo/v1"),
        (("spec", "budgetingMethod"), "Timeslices", "budgetingMethod must be Occurrences"),
        (("spec", "alertPolicies"), [], "spec has alertPolicies"),
        (("spec", "timeWindow"), [{"duration": "1M", "isRolling": True}], "such as 30d"),
        (("spec", "timeWindow"), [{"duration": "30d", "isRolling": False}], "must be rolling"),
        (("spec", "objectives"), [{"target": 0.9}, {"target": 0.8}], "must have one entry"),
        (("spec", "objectives"), [{"target": 0.9, "op": "lt"}], "has op"),
        (("spec", "indicator"), {"spec": {"thresholdMetric": {}}}, "has thresholdMetric"),
    ],
)
def test_what_can_not_be_kept_to_is_refused(tmp_path, path, value, told):
    slo = complete(SLOS[0])
    slo.name = NAME
    document = yaml.safe_load(as_openslo(slo))
    place = document
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    file = tmp_path / "slo.yaml"
    file.write_text(yaml.safe_dump(document))
    with pytest.raises(UsageFault) as fault:
        read_openslo(file)
    assert told in str(fault.value)


async def test_the_document_s_objective_is_kept_shown_and_deleted(tmp_path, capsys):
    example, *_ = re.findall(r"```yaml\n(.+?)```", DOCUMENT, flags=re.DOTALL)
    file = tmp_path / "slos.yaml"
    file.write_text(example)
    async with running_monitor(tmp_path / "monitor") as caller:
        await caller.create_monitor()
        before = ["--data-dir", str(tmp_path), "--address", f"monitor={caller.address}", "slos"]

        async def command(*arguments: str) -> str:
            capsys.readouterr()
            assert await asyncio.to_thread(run, [*before, *arguments]) == Exit.OK
            return capsys.readouterr().out

        await command("import", str(file))
        kept = json.loads(await command("import", str(file), "--json"))
        assert [slo["name"] for slo in kept] == ["projects/default/monitors/delays/slos/answers"]
        (listed,) = json.loads(await command("list", "delays", "--json"))
        assert listed["slo"] == kept[0]
        assert "100.0%" in await command("list", "delays")
        assert "14.4" in await command("show", "delays/answers")
        assert "slo:burn_rate:ratio5m" in await command("rules", "delays")
        file.write_text(await command("export", "delays"))
        assert read_openslo(file)[0][2].owner == "ops"
        await command("delete", "delays/answers")
        assert json.loads(await command("list", "delays", "--json")) == []
