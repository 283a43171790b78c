"""`roundhouse models import`, `explain` and `diff`, over a real registry."""

from __future__ import annotations

import asyncio
import json
import pickle
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import yaml
from onnx import TensorProto, helper, numpy_helper
from roundhouse.cli.commands import model_import
from roundhouse.cli.failures import Exit
from roundhouse.cli.supervisor.suite import ADDRESSES_FILE
from roundhouse.client.imports import NotImportable, Provenance, read_model
from roundhouse.registry.v1 import model_service_pb2
from roundhouse.registry.v1.model_pb2 import GateRule, PromotionPolicy

from tests.registry.test_api_lineage import served
from tests.support.bundles import TinyModel, tiny_files
from tests.support.calls import TIMEOUT_S
from tests.support.command_line import CommandLine, Result
from tests.support.registry_api import RegistryCaller, running_registry

PROVENANCE = (
    *("--source", "https://example.com/late.onnx", "--license", "Apache-2.0"),
    *("--owner", "ann", "--no-input"),
)


class Cli:
    """The command, over one registry, off the registry's event loop."""

    def __init__(self, folder: Path, caller: RegistryCaller) -> None:
        folder.mkdir()
        (folder / ADDRESSES_FILE).write_text(json.dumps({"registry": caller.address}))
        self._command = CommandLine(folder)
        self.caller = caller

    async def __call__(self, *arguments: str) -> Result:
        return await asyncio.to_thread(self._command, *arguments)


@pytest.fixture
async def cli(tmp_path: Path) -> AsyncIterator[Cli]:
    async with running_registry(tmp_path / "registry") as caller:
        yield Cli(tmp_path / "suite", caller)


@pytest.fixture
def graph(tmp_path: Path) -> Path:
    file = tmp_path / "late.onnx"
    file.write_bytes(TinyModel().onnx())
    return file


def mlflow_model(folder: Path, flavours: dict[str, Any]) -> Path:
    """A directory as MLflow 2 writes it."""
    folder.mkdir()
    document = {
        "artifact_path": "model",
        "flavors": flavours,
        "mlflow_version": "2.20.1",
        "model_uuid": "0b6a2f1d2c1f4a2e8f1a9c1d2e3f4a5b",
        "run_id": "7d0f0c6cf1c34f3f9b0d0a2f6f4b5c6d",
        "utc_time_created": "2026-01-02 03:04:05.678901",
        "signature": {"inputs": '[{"name": "distance", "type": "float"}]', "outputs": "[]"},
    }
    (folder / "MLmodel").write_text(yaml.safe_dump(document))
    return folder


ONNX_FLAVOUR = {
    "onnx": {"data": "model.onnx", "onnx_version": "1.18.0", "providers": ["CPUExecutionProvider"]},
    "python_function": {"loader_module": "mlflow.onnx", "env": {"conda": "conda.yaml"}},
}
PYFUNC_FLAVOUR = {"loader_module": "mlflow.sklearn", "model_path": "model.pkl"}


async def test_an_onnx_file_becomes_a_version_that_says_where_it_came_from(
    cli: Cli, graph: Path
) -> None:
    await cli.caller.create_model("late")
    snapshot = await cli.caller.sealed_snapshot(data=b"distance,carrier\n1,AA\n")
    result = await cli(
        *("models", "import", str(graph), "--model", "late"),
        *("--snapshot", "flights/january", *PROVENANCE, "--json"),
    )
    imported = result.json
    assert imported["notes"] == []
    version = imported["version"]
    assert (version["state"], version["snapshots"]) == ("STATE_READY", [snapshot])
    assert version["labels"] == {
        "imported_from": "https://example.com/late.onnx",
        "license": "Apache-2.0",
        "owner": "ann",
    }
    stored = await download(cli, version["name"], "provenance.json")
    assert stored["data"] == {"snapshot": snapshot}
    assert stored["model"]["format"] == "onnx"
    signature = await download(cli, version["name"], "signature.json")
    assert [(each["name"], each["datatype"], each["shape"]) for each in signature["inputs"]] == [
        ("distance", "FP32", [-1, 1]),
        ("delay", "FP32", [-1, 1]),
        ("carrier", "BYTES", [-1, 1]),
    ]
    assert {"name": "probabilities", "datatype": "FP32", "shape": [-1, 2]} in signature["outputs"]
    told = (await cli("models", "explain", "late/1")).out
    for word in ("imported_from", "example.com", "january", "2 features", "carrier, distance"):
        assert word in told


async def download(cli: Cli, version: str, path: str) -> Any:
    stream = cli.caller.models.DownloadArtifact(
        model_service_pb2.DownloadArtifactRequest(version=version, path=path), timeout=TIMEOUT_S
    )
    return json.loads(b"".join([part.chunk async for part in stream]))


async def test_an_mlflow_model_is_imported_by_its_onnx_flavour(cli: Cli, tmp_path: Path) -> None:
    folder = mlflow_model(tmp_path / "model", ONNX_FLAVOUR)
    (folder / "model.onnx").write_bytes(TinyModel().onnx())
    await cli.caller.create_model("late")
    result = await cli(
        *("models", "import", str(folder), "--model", "late"),
        *("--unknown-data-by", "ann", *PROVENANCE, "--json"),
    )
    version = result.json["version"]
    assert version["labels"]["data"] == "unknown, declared by ann"
    stored = await download(cli, version["name"], "provenance.json")
    assert stored["data"] == {"unknown": True, "declared_by": "ann"}
    assert stored["model"]["mlflow"]["flavours"] == ["onnx", "python_function"]
    # Only what can be checked went along: no conda.yaml, no pickle.
    assert [each["path"] for each in version["files"]] == [
        "model.onnx",
        "provenance.json",
        "signature.json",
    ]


async def test_what_is_missing_is_named_by_its_flags(cli: Cli, tmp_path: Path) -> None:
    folder = mlflow_model(tmp_path / "model", ONNX_FLAVOUR)
    (folder / "model.onnx").write_bytes(TinyModel().onnx())
    result = await cli("models", "import", str(folder), "--model", "late", "--owner", "ann")
    assert result.code == Exit.USAGE
    for flag in ("--source", "--snapshot or --unknown-data-by", "--license", "mlflow:runs/7d0f"):
        assert flag in result.err
    assert "--owner" not in result.err


async def test_on_a_terminal_what_is_missing_is_asked_for(
    cli: Cli, graph: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await cli.caller.create_model("late")
    asked: list[str] = []
    answers = {"Where": "s3://bucket/late", "Trained": "unknown", "Who declares": "ann"}

    def prompt(text: str, default: str | None = None) -> str:
        asked.append(text)
        return next((a for key, a in answers.items() if text.startswith(key)), "mine")

    class Terminal:
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(model_import.typer, "prompt", prompt)
    monkeypatch.setattr(model_import.sys, "stdin", Terminal())
    result = await cli("models", "import", str(graph), "--model", "late", "--json")
    assert result.json["version"]["labels"] == {
        "imported_from": "s3://bucket/late",
        "license": "mine",
        "owner": "mine",
        "data": "unknown, declared by ann",
    }
    assert len(asked) == 5


async def test_a_refused_import_leaves_no_open_upload(cli: Cli, graph: Path) -> None:
    await cli.caller.create_model("late")
    result = await cli(
        *("models", "import", str(graph), "--model", "late"),
        *("--snapshot", "flights/nobody", *PROVENANCE),
    )
    assert result.code == Exit.NOT_FOUND
    assert (await cli("models", "show", "late", "--json")).json["versions"] == []


def python_model(tmp_path: Path) -> Path:
    folder = mlflow_model(tmp_path / "model", {"python_function": PYFUNC_FLAVOUR, "sklearn": {}})
    (folder / "model.pkl").write_bytes(pickle.dumps({"a": 1}))
    return folder


def pickled(tmp_path: Path) -> Path:
    file = tmp_path / "model.pkl"
    file.write_bytes(pickle.dumps({"a": 1}))
    return file


def escaping(tmp_path: Path) -> Path:
    (tmp_path / "model.onnx").write_bytes(TinyModel().onnx())
    return mlflow_model(tmp_path / "model", {"onnx": {"data": "../model.onnx"}})


def no_model(tmp_path: Path) -> Path:
    file = tmp_path / "model.onnx"
    file.write_bytes(b"not a graph")
    return file


def graph_file(path: Path, nodes: list[Any], kind: int = TensorProto.FLOAT, **more: Any) -> Path:
    model = helper.make_model(
        helper.make_graph(
            nodes,
            "g",
            [helper.make_tensor_value_info("x", kind, [None, 2])],
            [helper.make_tensor_value_info("y", kind, None)],
            **more,
        ),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    )
    path.write_bytes(model.SerializeToString())
    return path


def failing(tmp_path: Path) -> Path:
    shape = numpy_helper.from_array(np.array([7], dtype=np.int64), "shape")
    node = helper.make_node("Reshape", ["x", "shape"], ["y"])
    return graph_file(tmp_path / "model.onnx", [node], initializer=[shape])


def unreachable_weights(tmp_path: Path) -> Path:
    weights = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[2])
    weights.data_location = TensorProto.EXTERNAL
    weights.external_data.add(key="location", value="../../etc/passwd")
    node = helper.make_node("Add", ["x", "w"], ["y"])
    return graph_file(tmp_path / "model.onnx", [node], initializer=[weights])


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (python_model, "python_function, sklearn"),
        (pickled, "run code when they are loaded"),
        (escaping, "not in model"),
        (no_model, "can't be loaded"),
        (failing, "fails on a row of zeros"),
        (unreachable_weights, "etc/passwd"),
        (lambda folder: folder, "no MLflow model"),
        (lambda folder: folder / "nothing.onnx", "There is no"),
    ],
)
def test_what_can_not_be_trusted_or_run_is_refused_with_the_way_out(
    make: Any, reason: str, tmp_path: Path
) -> None:
    with pytest.raises(NotImportable, match=reason) as refusal:
        read_model(make(tmp_path))
    if make in (python_model, pickled):
        assert "Export it to ONNX" in str(refusal.value)


def test_weights_beside_the_graph_come_along_and_odd_shapes_are_noted(tmp_path: Path) -> None:
    weights = numpy_helper.from_array(np.zeros((2,), np.float32), "w")
    node = helper.make_node("Add", ["x", "w"], ["y"])
    path = graph_file(tmp_path / "model.onnx", [node], initializer=[weights])
    model = onnx.load(path)
    onnx.save(model, path, save_as_external_data=True, location="weights.data", size_threshold=0)
    read = read_model(path)
    assert read.files == {"model.onnx": path, "weights.data": tmp_path / "weights.data"}
    assert read.signature["inputs"][0]["shape"] == [-1, 2]
    assert read.signature["outputs"] == [{"name": "y", "datatype": "FP32", "shape": [-1, 2]}]
    assert len(read.notes) == 2


@pytest.mark.parametrize(
    "fields",
    [
        {"license": ""},
        {"snapshot": "", "unknown_data_declared_by": ""},
        {"unknown_data_declared_by": "ann"},
    ],
)
def test_a_provenance_that_says_too_little_or_too_much_is_refused(fields: dict[str, str]) -> None:
    whole = {"source": "s", "license": "l", "owner": "o", "snapshot": "d/s"}
    with pytest.raises(NotImportable):
        Provenance(**{**whole, **fields})


async def test_explain_tells_the_whole_way_of_a_version(cli: Cli) -> None:
    version = await served(cli.caller)
    told = (await cli("models", "explain", "delays/1")).out
    words = (
        *("version delays/1 READY", "snapshot flights/january SEALED", "training job first"),
        *("1 feature x", "evaluation", "test: auc 0.7", "gate result", "PASSED"),
        *(
            "approval",
            "asked by ann, decided by bob",
            "rollout r SUCCEEDED",
            "endpoint late SERVING",
        ),
    )
    for word in words:
        assert word in told, told
    document = (await cli("models", "explain", "delays/1", "--json")).json
    assert document["version"]["name"] == version == document["nodes"][0]["name"]
    assert document["truncated"] is False
    assert {"from", "to", "relation", "time"} == set(document["edges"][0])
    near = await cli("models", "explain", "delays/1", "--max-hops", "1")
    assert "There is more beyond 1 hops" in near.err
    assert (await cli("models", "explain", "delays/9")).code == Exit.NOT_FOUND


async def test_diff_sets_two_versions_side_by_side(cli: Cli) -> None:
    caller = cli.caller
    rule = GateRule(metric="auc", comparison=GateRule.COMPARISON_AT_LEAST, value=0.75)
    model = await caller.create_model(promotion_policy=PromotionPolicy(rules=[rule]))
    january = await caller.sealed_snapshot("january", b"distance\n1\n2\n")
    february = await caller.sealed_snapshot("february", b"distance\n3\n")
    for bias, snapshot, auc, rate in ((0.0, january, 0.7, 0.1), (0.5, february, 0.8, 0.2)):
        training = json.dumps({"spec": {"learning_rate": rate, "seed": 1}}).encode()
        version = await caller.ready_version(
            model,
            {**tiny_files(TinyModel(bias)), "training.json": training},
            snapshots=[snapshot],
        )
        evaluation = await caller.evaluate(version, january, auc=auc)
        await caller.gate(evaluation.name)
    found = (await cli("models", "diff", "delays/1", "delays/2", "--json")).json
    files = {each["name"]: each["is"] for each in found["files"]}
    assert (files["model.onnx"], files["signature.json"]) == ("changed", "same")
    assert {each["is"] for each in found["signature"]["inputs"]} == {"same"}
    assert [each["rows"] for side in "ab" for each in found["snapshots"][side]] == [2, 1]
    assert found["parameters"] == [
        {"name": "spec.learning_rate", "is": "changed", "a": 0.1, "b": 0.2}
    ]
    (metric,) = found["metrics"]
    assert metric["difference"] == pytest.approx(0.1)
    assert metric["comparable"] is True
    (verdict,) = found["gate"]
    assert (verdict["name"], verdict["is"]) == ("auc >= 0.75", "changed")
    assert verdict["a"].startswith("failed")
    assert verdict["b"].startswith("passed")
    told = (await cli("models", "diff", "delays/1", "delays/2")).out
    for word in ("other bytes", "model.onnx", "spec.learning_rate", "+0.1000", "february"):
        assert word in told, told
    same = await cli("models", "diff", "delays/1", "delays/1")
    assert "the same bytes" in same.out
