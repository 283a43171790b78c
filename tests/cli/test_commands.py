"""One model's way through the real services, by commands alone."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from roundhouse.cli.failures import Exit
from roundhouse.client import Client
from roundhouse.client.errors import AlreadyExists
from roundhouse.demo import flights
from roundhouse.monitor.v1.monitor_pb2 import Monitor
from roundhouse.monitor.v1.monitor_service_pb2 import CreateMonitorRequest
from roundhouse.registry.v1.evaluation_pb2 import Approval
from roundhouse.registry.v1.evaluation_service_pb2 import (
    EvaluateGateRequest,
    RequestApprovalRequest,
)
from roundhouse.registry.v1.model_pb2 import Model, ModelVersion, PromotionPolicy
from roundhouse.registry.v1.model_service_pb2 import (
    BeginVersionUploadRequest,
    CreateModelRequest,
)

from tests.support.bundles import tiny_files
from tests.support.command_line import (
    CommandLine,
    running_command_line,
)

pytestmark = pytest.mark.real

ROWS = 3000
PROJECT = "projects/default"


@pytest.fixture(scope="module")
def cli(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CommandLine]:
    with running_command_line(tmp_path_factory.mktemp("suite")) as command_line:
        yield command_line


@pytest.fixture(scope="module")
def client(cli: CommandLine) -> Iterator[Client]:
    from roundhouse.cli.session import resolve_addresses

    with Client(resolve_addresses(cli.data_dir, [])) as connected:
        yield connected


@pytest.fixture(scope="module")
def snapshot(cli: CommandLine, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("data")
    january = flights.month_files(folder)[flights.MONTHS[0]]
    file = folder / "january.parquet"
    pq.write_table(pq.read_table(january).slice(0, ROWS), file)
    return cli(
        *("data", "import", str(file), "--dataset", "flights", "--snapshot", "january"),
        *("--key", flights.KEY, "--required", flights.TARGET),
        *("--time-column", flights.EVENT_TIME, "--json"),
    ).json


@pytest.fixture(scope="module")
def version(cli: CommandLine, client: Client, snapshot: dict[str, Any], tmp_path_factory) -> str:
    """A trained version, whose approval is pending."""
    client.models.CreateModel(
        CreateModelRequest(
            parent=PROJECT,
            model_id="late",
            model=Model(promotion_policy=PromotionPolicy(protected_aliases=["champion"])),
        )
    )
    spec = {
        "snapshot": snapshot["name"],
        "target": flights.TARGET,
        "features": [
            {"name": "distance", "kind": "KIND_NUMERIC"},
            {"name": "recent_delay", "kind": "KIND_NUMERIC"},
            {"name": "carrier", "kind": "KIND_CATEGORICAL"},
        ],
        "split": {"time_column": flights.EVENT_TIME},
        "cross_validation": {"folds": 2},
        "candidates": [{"algorithm": "logistic_regression"}, {"algorithm": "decision_tree"}],
        "model": f"{PROJECT}/models/late",
    }
    file = tmp_path_factory.mktemp("spec") / "spec.json"
    file.write_text(json.dumps(spec))
    result = cli("jobs", "submit", "first", "--spec", str(file), "--watch", "--json")
    assert result.code == Exit.OK, result.err
    job = result.lines[-1]["training_job"]
    gate = client.evaluations.EvaluateGate(EvaluateGateRequest(evaluation=job["evaluation"]))
    client.evaluations.RequestApproval(
        RequestApprovalRequest(
            parent=job["model_version"],
            approval=Approval(gate_result=gate.name, requester="team"),
        )
    )
    return job["model_version"]


@pytest.fixture(scope="module")
def champion(cli: CommandLine, version: str) -> str:
    """The version, approved."""
    assert (
        cli("models", "approve", "late/1", "--approver", "on-call", "--json").json["state"]
        == "STATE_APPROVED"
    )
    return version


@pytest.fixture(scope="module")
def endpoint(cli: CommandLine, champion: str) -> dict[str, Any]:
    return cli(
        "endpoints", "create", "late", "--version", champion, "--alias", "champion", "--json"
    ).json


def test_every_service_serves(cli: CommandLine) -> None:
    result = cli("status", "--json")
    assert [each["serving"] for each in result.json] == [True] * 4


def test_an_import_reports_what_it_kept_and_what_it_saw(
    cli: CommandLine, snapshot: dict[str, Any]
) -> None:
    assert snapshot["state"] == "STATE_SEALED"
    assert snapshot["digest"].startswith("sha256:")
    assert snapshot["cleaning"]["rows_kept"] == str(ROWS)
    assert {column["name"] for column in snapshot["columns"]} > set(flights.FEATURES)


def test_an_import_under_a_taken_id_is_refused(
    cli: CommandLine, snapshot: dict[str, Any], tmp_path: Path
) -> None:
    (tmp_path / "more.csv").write_text("a,b\n1,2\n")
    result = cli(
        *("data", "import", str(tmp_path / "more.csv")),
        *("--dataset", "flights", "--snapshot", "january"),
    )
    assert result.code == Exit.REFUSED


def test_a_csv_import_prints_a_table_of_columns(cli: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "few.csv").write_text("place,degrees\nOslo,4\nOslo,4\nRome,\n")
    result = cli(
        *("data", "import", str(tmp_path / "few.csv"), "--dataset", "weather"),
        *("--snapshot", "few", "--required", "degrees"),
    )
    assert result.code == Exit.OK, result.err
    assert "1 of 3 rows kept (1 duplicates, 1 unusable)" in " ".join(result.out.split())


def test_a_wrong_spec_names_every_fault(cli: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "spec.json").write_text('{"snapshot": "x", "target": "y"}')
    result = cli("jobs", "submit", "bad", "--spec", str(tmp_path / "spec.json"))
    assert result.code == Exit.USAGE
    for fault in ("features", "split", "candidates"):
        assert fault in result.err


def test_a_parent_on_the_command_line_is_that_of_the_spec(
    cli: CommandLine, version: str, tmp_path: Path
) -> None:
    spec = cli("jobs", "show", "first", "--json").json["job"]["spec"]
    del spec["cross_validation"]
    (tmp_path / "spec.json").write_text(json.dumps({**spec, "mode": "MODE_DISTILLATION"}))
    submit = ("jobs", "submit", "small", "--spec", str(tmp_path / "spec.json"), "--validate-only")
    alone = cli(*submit)
    assert (alone.code, "parent_version" in alone.err) == (Exit.USAGE, True)
    assert cli(*submit, "--parent", "late/1").code == Exit.OK


def test_jobs_are_listed_with_what_they_made(cli: CommandLine, version: str) -> None:
    (job,) = cli("jobs", "list", "--json").json
    assert (job["state"], job["model_version"]) == ("STATE_SUCCEEDED", version)
    assert "late/1" in cli("jobs", "list").out


def test_a_jobs_log_can_be_read_after_its_end(cli: CommandLine, version: str) -> None:
    result = cli("jobs", "logs", "first", "--json")
    assert result.code == Exit.OK
    assert [line["number"] for line in result.lines] == [
        str(number) for number in range(1, len(result.lines) + 1)
    ]
    assert result.lines


def test_a_job_that_is_over_can_not_be_cancelled(cli: CommandLine, version: str) -> None:
    assert cli("jobs", "cancel", "first").code == Exit.REFUSED


def test_the_month_s_report_tells_of_the_job_its_cost_and_what_serves(
    cli: CommandLine, version: str
) -> None:
    (job,) = cli("jobs", "list", "--json").json
    result = cli("report", "--period", "monthly", "--of", job["update_time"][:10])
    assert result.code == Exit.OK, result.err
    assert "1 job ended, 100.0% of those that nobody cancelled succeeded." in result.out
    assert "| late |" in result.out
    assert "the period is not over yet" in result.out


def test_what_a_job_has_cost_is_shown_and_limited(cli: CommandLine, version: str) -> None:
    (job,) = cli("jobs", "list", "--json").json
    shown = cli("costs", "show", "--job", "first", "--json").json
    assert shown["total"] == job["cost"]
    assert [line["group"] for line in shown["lines"]] == [job["name"]]
    assert cli("costs", "set-budget", "2.50 USD", "--owner", "ann").code == Exit.OK
    (budget,) = cli("costs", "budgets", "--json").json
    assert budget["monthly"] == {"currency_code": "USD", "units": "2", "nanos": 500000000}
    assert "2.500000 USD" in cli("costs", "budgets").out
    assert "a core" in cli("costs", "prices").out
    for wrong in ("2.5", "2,50 USD", "1.0000001 USD"):
        assert cli("costs", "set-budget", wrong, "--owner", "ann").code == Exit.USAGE
    assert cli("costs", "set-budget", "1 USD").code == Exit.USAGE


def test_what_was_found_in_a_jobs_data_is_shown(cli: CommandLine, version: str) -> None:
    report = cli("jobs", "data", "first", "--json").json
    assert {column["column"] for column in report["columns"]} > {"distance"}
    shown = cli("jobs", "data", "first")
    assert shown.code == Exit.OK
    assert "Class balance" in shown.out
    assert cli("jobs", "data", "nobody").code != Exit.OK


def test_a_jobs_series_are_drawn(cli: CommandLine, version: str) -> None:
    points = cli("jobs", "plot", "first", "--json").json
    shown = cli("jobs", "plot", "first", "--series", points[0]["series"])
    assert shown.code == Exit.OK
    assert shown.out.startswith(points[0]["series"])
    assert points[0]["trial"] in shown.out
    assert cli("jobs", "plot", "first", "--series", "none").code != Exit.OK


def test_a_jobs_trials_are_listed(cli: CommandLine, version: str) -> None:
    listed = cli("jobs", "trials", "first", "--json").json
    assert [trial["state"] for trial in listed] == ["STATE_SUCCEEDED"] * 2
    assert "decision-tree-2" in cli("jobs", "trials", "first").out


def test_a_job_is_shown_with_its_trials_and_their_folds(cli: CommandLine, version: str) -> None:
    shown = cli("jobs", "show", "first", "--json").json
    assert shown["job"]["model_version"] == version
    assert [len(trial["folds"]) for trial in shown["trials"]] == [2, 2]
    out = cli("jobs", "show", "first").out
    assert "picks by mean auc over 2 folds" in out
    assert "won" in out
    assert {*shown["trials"][0]["gains"]} == {"auc", "log_loss"}
    assert cli("jobs", "show", "nobody").code == Exit.NOT_FOUND


def test_a_job_that_does_not_exist_is_not_found(cli: CommandLine) -> None:
    assert cli("jobs", "watch", "nobody").code == Exit.NOT_FOUND


def test_a_model_is_shown_with_its_versions_and_scores(cli: CommandLine, champion: str) -> None:
    shown = cli("models", "show", "late", "--json").json
    assert [each["name"] for each in shown["versions"]] == [champion]
    assert {"auc", "log_loss"} <= shown["evaluations"][0]["metrics"].keys()
    assert [model["name"] for model in cli("models", "list", "--json").json] == [
        f"{PROJECT}/models/late"
    ]
    assert "late/1" in cli("models", "show", "late").out


def test_a_second_approval_is_not_pending(cli: CommandLine, champion: str) -> None:
    assert cli("models", "approve", "late/1").code == Exit.FAILED


def test_an_alias_moves_and_its_moves_are_kept(cli: CommandLine, endpoint: dict[str, Any]) -> None:
    moved = cli("aliases", "move", "late@champion", "late/1", "--reason", "first")
    assert moved.code == Exit.OK, moved.err
    assert cli("aliases", "move", "late@spare", "late@champion", "--reason", "try").code == Exit.OK
    aliases = {
        each["name"].rpartition("/")[2] for each in cli("aliases", "list", "late", "--json").json
    }
    assert aliases == {"champion", "spare"}
    moves = cli("aliases", "history", "late", "--json").json
    assert moves[0]["reason"] == "try"
    checked = cli("aliases", "move", "late@spare", "late/7", "--validate-only")
    assert checked.code == Exit.NOT_FOUND


def test_an_endpoint_shows_what_serves(cli: CommandLine, endpoint: dict[str, Any]) -> None:
    shown = cli("endpoints", "show", "late", "--json").json
    assert [each["weight_basis_points"] for each in shown["variants"]] == [10_000]
    assert int(shown["variants"][0]["memory_bytes"]) > 0
    assert "late/1 100 %" in cli("endpoints", "list").out


def test_a_row_is_predicted(cli: CommandLine, endpoint: dict[str, Any], champion: str) -> None:
    answer = cli("predict", "late", "distance=500", "carrier=UA", "--json").json
    assert answer["model_version"] == champion
    assert 0 < answer["rows"][0]["probability"] < 1


def test_the_rows_of_a_file_are_predicted(
    cli: CommandLine, endpoint: dict[str, Any], tmp_path: Path
) -> None:
    file = tmp_path / "rows.json"
    file.write_text(json.dumps([{"distance": 100}, {"carrier": "AA", "recent_delay": 90}]))
    answer = cli("predict", "late", "--rows", str(file), "--json").json
    assert len(answer["rows"]) == 2
    assert answer["rows"][0]["id"].endswith(":0")


def test_an_unknown_input_is_a_usage_error(cli: CommandLine, endpoint: dict[str, Any]) -> None:
    result = cli("predict", "late", "altitude=1")
    assert result.code == Exit.USAGE
    assert "distance" in result.err


def test_an_endpoint_without_rollouts_has_none_to_watch(
    cli: CommandLine, endpoint: dict[str, Any]
) -> None:
    assert cli("rollouts", "list", "late", "--json").json == []
    assert cli("rollouts", "watch", "late").code == Exit.FAILED
    assert cli("rollouts", "rollback", "late", "--reason", "test").code == Exit.REFUSED


def test_a_monitor_without_traffic_has_no_drift_to_show(
    cli: CommandLine, client: Client, endpoint: dict[str, Any], snapshot: dict[str, Any]
) -> None:
    monitor = Monitor(endpoint=endpoint["name"], dataset=f"{PROJECT}/datasets/flights")
    try:
        client.monitors.CreateMonitor(
            CreateMonitorRequest(parent=PROJECT, monitor_id="late", monitor=monitor)
        )
    except AlreadyExists:
        pytest.fail("made twice")
    shown = cli("drift", "late", "--json").json
    assert shown == {"drift_reports": [], "performance_reports": [], "retrain_decisions": []}
    assert cli("drift", "late").code == Exit.OK


def test_what_serves_is_explained_down_to_the_snapshot(
    cli: CommandLine, endpoint: dict[str, Any], snapshot: dict[str, Any]
) -> None:
    def names(cause: dict[str, Any]) -> Iterator[str]:
        yield cause["name"]
        for each in cause.get("causes", []):
            yield from names(each)

    assert snapshot["name"] in set(names(cli("explain", "late", "--json").json))
    assert "snapshot" in cli("explain", "late").out


def test_a_folder_is_uploaded_and_downloaded_bit_for_bit(
    cli: CommandLine, client: Client, tmp_path: Path
) -> None:
    client.models.CreateModel(
        CreateModelRequest(parent=PROJECT, model_id="imported", model=Model())
    )
    for path, data in tiny_files().items():
        (tmp_path / "bundle" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "bundle" / path).write_bytes(data)
    options = ("--model", "imported", "--label", "from=test", "--json")
    sent = cli("models", "upload", str(tmp_path / "bundle"), *options)
    assert sent.code == Exit.OK, sent.err
    assert (sent.json["state"], sent.json["labels"]) == ("STATE_READY", {"from": "test"})

    got = tmp_path / "got"
    result = cli("models", "download", "imported/1", "--to", str(got), "--json")
    assert result.json["digest"] == sent.json["digest"]
    for path, data in tiny_files().items():
        assert (got / path).read_bytes() == data

    empty = tmp_path / "empty"
    empty.mkdir()
    again = cli("models", "upload", str(empty), "--model", "imported")
    assert again.code == Exit.USAGE
    assert "--resume imported/2" not in again.err


def test_an_upload_goes_on_after_an_interruption(
    cli: CommandLine, client: Client, tmp_path: Path
) -> None:
    begun = client.models.BeginVersionUpload(
        BeginVersionUploadRequest(parent=f"{PROJECT}/models/imported", version=ModelVersion())
    )
    for path, data in tiny_files().items():
        (tmp_path / path).write_bytes(data)
    client.upload_artifact(begun.name, "model.onnx", tmp_path / "model.onnx")
    resume = begun.name.removeprefix(f"{PROJECT}/models/").replace("/versions", "")

    result = cli(
        "models", "upload", str(tmp_path), "--model", "imported", "--resume", resume, "--json"
    )
    assert (result.json["name"], result.json["state"]) == (begun.name, "STATE_READY")
