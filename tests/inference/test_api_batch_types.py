"""Batch predictions of a version that was imported with inputs of every type."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from roundhouse.client.imports import read_model
from roundhouse.inference.v1 import batch_pb2 as pb
from roundhouse.inference.v1 import batch_service_pb2 as service_pb

from tests.support.batches import csv_of
from tests.support.calls import refused
from tests.support.inference_api import PROJECT, TIMEOUT_S, Registered, request_id
from tests.support.typed_bundles import COLUMNS, probabilities_of, rows_of, typed_graph

Job = pb.BatchPredictionJob
COUNT = 30
ROWS = pa.table(
    {
        "flight": [f"f{number}" for number in range(COUNT)],
        **{name: column[:, 0].tolist() for name, column in rows_of(COUNT).items()},
        "a_text": ["AA"] * COUNT,
    }
)


async def imported(registry, tmp_path: Path) -> Registered:
    """The typed model, as an import of its ONNX file describes it."""
    (tmp_path / "typed.onnx").write_bytes(typed_graph())
    model = await asyncio.to_thread(read_model, tmp_path / "typed.onnx")
    assert model.notes == ()
    assert {each["name"]: each["datatype"] for each in model.signature["inputs"]} == {
        **{name: datatype.value for name, (datatype, _) in COLUMNS.items()},
        "a_text": "BYTES",
    }
    signature = json.dumps(model.signature).encode()
    return await registry.approved(
        files={"model.onnx": typed_graph(), "signature.json": signature, "card.md": b"# Typed\n"}
    )


async def predicted(inference, registry, version: str, rows: pa.Table) -> Job:
    """The job over a snapshot of the rows, once it is over."""
    caller = registry.caller
    snapshot = await caller.create_snapshot(
        f"{PROJECT}/datasets/flights", "typed", key_columns=["flight"]
    )
    await caller.upload_csv(snapshot, csv_of(rows))
    await caller.seal(snapshot)
    created = await inference.batches.CreateBatchPredictionJob(
        service_pb.CreateBatchPredictionJobRequest(
            parent=PROJECT,
            batch_prediction_job_id="typed",
            batch_prediction_job=Job(snapshot=snapshot, model=version),
            request_id=request_id(),
        ),
        timeout=TIMEOUT_S,
    )
    watch = service_pb.WatchBatchPredictionJobRequest(name=created.name)
    *_, last = [
        each async for each in inference.batches.WatchBatchPredictionJob(watch, timeout=TIMEOUT_S)
    ]
    return last


def with_column(name: str, values: list) -> pa.Table:
    return ROWS.set_column(ROWS.column_names.index(name), name, pa.array(values))


async def test_columns_of_every_type_are_predicted_exactly(inference, registry, tmp_path):
    registered = await imported(registry, tmp_path)
    job = await predicted(inference, registry, registered.version, ROWS)
    assert job.state == Job.STATE_SUCCEEDED, job.message
    (part,) = (tmp_path / "inference").rglob("part-*.parquet")
    scores = pq.read_table(part)["score"].to_numpy()
    assert scores == pytest.approx(probabilities_of(rows_of(COUNT)), abs=1e-6)


@pytest.mark.parametrize(
    ("name", "value"),
    [("a_uint8", 256), ("a_uint64", -1), ("a_fp16", 1e6)],
)
async def test_a_number_that_the_input_s_type_does_not_hold_fails_the_job_by_column(
    inference, registry, tmp_path, name, value
):
    registered = await imported(registry, tmp_path)
    rows = with_column(name, [*ROWS[name].to_pylist()[:-1], value])
    job = await predicted(inference, registry, registered.version, rows)
    assert (job.state, job.reason) == (Job.STATE_FAILED, "INVALID_TENSOR")
    assert job.message.startswith(name)


async def test_columns_of_other_types_or_with_gaps_are_refused_before_anything_runs(
    inference, registry, tmp_path
):
    registered = await imported(registry, tmp_path)
    wrong = {"a_int64": "many", "a_int32": 1.5, "a_bool": 2, "a_fp64": "many"}
    rows = with_column("a_int8", [None, *range(1, COUNT)])
    for name, value in wrong.items():
        rows = rows.set_column(rows.column_names.index(name), name, pa.array([value] * COUNT))
    with refused() as refusal:
        await predicted(inference, registry, registered.version, rows)
    assert refusal.reason == "SNAPSHOT_MISMATCH"
    violations = refusal.details["PreconditionFailure"].violations
    assert {each.subject for each in violations} == {*wrong, "a_int8"}
