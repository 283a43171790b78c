"""docs/promotion.md does what it says, against a real registry."""

from __future__ import annotations

import asyncio
import json
import re
import shlex
from pathlib import Path

import protovalidate
import pytest
from google.protobuf.json_format import Parse
from roundhouse.cli.app import run
from roundhouse.cli.documents import document_of, read_document
from roundhouse.cli.failures import Exit
from roundhouse.registry.v1 import evaluation_pb2, evaluation_service_pb2, model_pb2

from tests.support.calls import TIMEOUT_S, request_id
from tests.support.registry_api import BUNDLE, RegistryCaller, digest_of, running_registry

DOCUMENT = (Path(__file__).parents[2] / "docs" / "promotion.md").read_text()
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", DOCUMENT, flags=re.DOTALL)
POLICY, *_ = [block for language, block in BLOCKS if language == "yaml"]
COMMANDS = [
    shlex.split(line)[1:]
    for language, block in BLOCKS
    if language == "sh"
    for line in block.splitlines()
]
ELSEWHERE = {"rollouts"}
"""Commands of other services than the registry."""


async def record_version(caller: RegistryCaller) -> None:
    """`flights/1`, with scores that the document's policy lets pass."""
    model = await caller.create_model("flights")
    version = await caller.ready_version(model, {"card.md": b"# Flights", **BUNDLE})
    part = evaluation_pb2.Evaluation.Slice
    await caller.evaluations.RecordEvaluation(
        evaluation_service_pb2.RecordEvaluationRequest(
            parent=version,
            evaluation=evaluation_pb2.Evaluation(
                snapshot=await caller.sealed_snapshot(),
                split="test",
                split_digest=digest_of(b"rows"),
                rows=900,
                metrics={"auc": 0.7, "log_loss": 0.5, "latency.p99_ms": 2.0},
                standard_errors={"auc": 0.01},
                slices=[
                    part(column="origin", value=value, rows=rows, metrics=metrics)
                    for value, rows, metrics in (
                        ("JFK", 400, {"auc": 0.72, "log_loss": 0.5}),
                        ("LGA", 400, {"auc": 0.66, "log_loss": 0.6}),
                        ("EWR", 100, {"auc": 0.1, "log_loss": 9.0}),
                    )
                ],
            ),
            request_id=request_id(),
        ),
        timeout=TIMEOUT_S,
    )


async def test_the_documents_commands_do_what_it_says_one_after_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "policy.yaml").write_text(POLICY)
    async with running_registry(tmp_path / "registry") as caller:
        await record_version(caller)
        where = ["--data-dir", str(tmp_path), "--address", f"registry={caller.address}"]
        printed = {}
        for command in COMMANDS:
            words = [command[0], "--help"] if command[0] in ELSEWHERE else [*where, *command]
            code = await asyncio.to_thread(run, words)
            output = capsys.readouterr()
            assert code == Exit.OK, (command, output)
            printed[" ".join(command[:3])] = output.out
        assert "auc[worst origin]" in printed["models gate flights/1"]
        assert "flights-team" in printed["models show flights"]
        assert "flights@champion moved to flights/1" in printed["aliases move flights@champion"]
        assert "flights/1" in printed["data ledger"]
        code = await asyncio.to_thread(
            run, [*where, "models", "policy", "show", "flights", "--json"]
        )
        shown = json.loads(capsys.readouterr().out)
        assert shown == document_of(read_document(tmp_path / "policy.yaml", policy()))


async def test_a_gate_that_fails_says_so_with_its_code(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with running_registry(tmp_path / "registry") as caller:
        await record_version(caller)
        where = ["--data-dir", str(tmp_path), "--address", f"registry={caller.address}"]
        file = tmp_path / "strict.json"
        file.write_text('{"rules": [{"metric": "f1", "comparison": "at_least", "value": 0.9}]}')
        for words, code in (
            (["models", "gate", "flights/1"], Exit.FAILED),
            (["models", "policy", "set", "flights", str(file)], Exit.OK),
            (["models", "gate", "flights/1", "--evaluate"], Exit.FAILED),
        ):
            assert await asyncio.to_thread(run, [*where, *words]) == code
        assert "f1 was not measured" in capsys.readouterr().out


def policy() -> model_pb2.PromotionPolicy:
    return model_pb2.PromotionPolicy()


def test_the_policies_are_valid_and_come_back_as_they_were_written(tmp_path: Path) -> None:
    (tmp_path / "policy.yaml").write_text(POLICY)
    read = read_document(tmp_path / "policy.yaml", policy())
    protovalidate.validate(read)
    again = tmp_path / "again.json"
    again.write_text(json.dumps(document_of(read)))
    assert read_document(again, policy()) == read
    (written,) = [block for language, block in BLOCKS if language == "json"]
    protovalidate.validate(Parse(written, policy()))


@pytest.mark.parametrize("text", ["rules: [", "- a", "rulez: []", "rules: [{metric: 3}]"])
def test_a_faulty_policy_is_a_fault_of_usage(
    tmp_path: Path, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text(text)
    assert run(["models", "policy", "set", "flights", str(file)]) == Exit.USAGE
    assert str(file) in capsys.readouterr().err.replace("\n", "")
