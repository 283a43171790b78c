"""Inputs of every type of the protocol, from the request to the model and the observation."""

from __future__ import annotations

import asyncio
import json

import grpc
import numpy as np
import pyarrow as pa
import pytest
import tritonclient.grpc.aio as aio_client
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from roundhouse.client.errors import InvalidInput
from roundhouse.client.predictions import InputColumn, PredictOptions, request_of
from tritonclient.grpc import service_pb2 as pb

from services.common.tasks import background_tasks
from services.inference.adapters.batch_files import _rows as rows_of_table
from services.inference.adapters.batching import BatchLimits
from services.inference.adapters.observation_frames import layout_frame, read_segment, rows_frame
from services.inference.adapters.triton.pool import ReplicaPool
from services.inference.adapters.triton.runtime import TritonRuntime
from services.inference.api.oip.decode import query_of
from services.inference.core.endpoints import Runtime
from services.inference.core.errors import InvalidTensors, UnservableBundle
from services.inference.core.rows import WireTensor, joined, parse_rows
from services.inference.core.samples import sample_rows
from services.inference.core.signature import parse_signature
from services.inference.core.wire import encoded_texts
from tests.support.oip_calls import error_of
from tests.support.serving import data_plane, oip_server
from tests.support.typed_bundles import (
    COLUMNS,
    probabilities_of,
    published,
    rows_of,
    typed_signature,
)

SIGNATURE = parse_signature(json.dumps(typed_signature()).encode())
TYPED = {
    **dict.fromkeys(("INT8", "INT16", "INT32"), "int_contents"),
    **dict.fromkeys(("UINT8", "UINT16", "UINT32"), "uint_contents"),
    **{each: f"{each.lower()}_contents" for each in ("BOOL", "INT64", "UINT64", "FP32", "FP64")},
}


def wire(columns: dict[str, np.ndarray], count: int) -> list[WireTensor]:
    tensors = [
        WireTensor(name, datatype, (count, 1), columns[name].tobytes())
        for name, (datatype, _) in COLUMNS.items()
    ]
    return [*tensors, WireTensor("a_text", "BYTES", (count, 1), encoded_texts(["x"] * count))]


@st.composite
def anything(draw):
    count = draw(st.integers(1, 4))
    return count, {
        name: draw(
            hnp.arrays(
                dtype, (count, 1), elements={"allow_infinity": False} if dtype.kind == "f" else None
            )
        )
        for name, (_, dtype) in COLUMNS.items()
    }


@given(st.lists(anything(), min_size=1, max_size=3))
def test_callers_rows_of_every_type_are_joined_and_parted_as_they_came(sent):
    blocks = [parse_rows(SIGNATURE, wire(columns, count), max_rows=10) for count, columns in sent]
    whole, start = joined(blocks), 0
    for (count, columns), block in zip(sent, blocks, strict=True):
        fed = whole.part(start, start + count).feeds(SIGNATURE)
        start += count
        for name, (_, dtype) in COLUMNS.items():
            assert fed[name].dtype == dtype
            np.testing.assert_array_equal(fed[name], columns[name])
            np.testing.assert_array_equal(block.feeds(SIGNATURE)[name], columns[name])
    assert whole.count == start


def test_made_up_rows_have_every_input_in_its_type():
    made = sample_rows(SIGNATURE, 3)
    fed = made.feeds(SIGNATURE)
    assert {name: fed[name].dtype for name in COLUMNS} == {
        name: dtype for name, (_, dtype) in COLUMNS.items()
    }
    assert made.first().count == 1
    assert made.out_of_range(SIGNATURE) == 0


@pytest.mark.parametrize(
    ("change", "told"),
    [({"datatype": "BF16"}, "BF16"), ({"datatype": "INT8", "nullable": True}, "nullable")],
)
def test_a_signature_that_no_row_could_meet_is_refused(change, told):
    document = typed_signature()
    document["inputs"][0].update(change)
    with pytest.raises(UnservableBundle) as refused:
        parse_signature(json.dumps(document).encode())
    assert "a_bool" in str(refused.value)
    assert told in str(refused.value)


@pytest.mark.parametrize(
    ("name", "datatype", "data"),
    [
        ("a_bool", "BOOL", b"\2"),
        ("a_int16", "INT16", b"\0"),
        ("a_int16", "UINT16", b"\0\0"),
        ("a_fp64", "BF16", b"\0\0"),
        ("a_fp64", "FP64", np.float64(np.inf).tobytes()),
        ("a_fp16", "FP16", np.float16(np.inf).tobytes()),
    ],
)
def test_what_is_not_of_the_inputs_type_is_refused_by_its_name(name, datatype, data):
    tensors = [each for each in wire(rows_of(1), 1) if each.name != name]
    with pytest.raises(InvalidTensors) as refused:
        parse_rows(SIGNATURE, [*tensors, WireTensor(name, datatype, (1, 1), data)], max_rows=1)
    assert [violation.field for violation in refused.value.violations] == [name]


def raw(columns: dict[str, np.ndarray]) -> pb.ModelInferRequest:
    request = pb.ModelInferRequest(model_name="delays")
    for tensor in wire(columns, len(columns["a_bool"])):
        request.inputs.add(name=tensor.name, datatype=tensor.datatype, shape=tensor.shape)
        request.raw_input_contents.append(tensor.data)
    return request


def typed(columns: dict[str, np.ndarray]) -> pb.ModelInferRequest:
    """FP16 has no field of its own, so its input is left to the caller."""
    request = pb.ModelInferRequest(model_name="delays")
    for name, (datatype, _) in COLUMNS.items():
        tensor = request.inputs.add(name=name, datatype=datatype, shape=columns[name].shape)
        if datatype in TYPED:
            getattr(tensor.contents, TYPED[datatype]).extend(columns[name].ravel().tolist())
    return request


async def test_every_type_reaches_the_model_and_the_observations(plane, stub, tmp_path):
    await plane.serve(published(tmp_path / "source", 1))
    metadata = await stub.ModelMetadata(pb.ModelMetadataRequest(name="delays"))
    assert {each.name: each.datatype for each in metadata.inputs} == {
        **{name: datatype for name, (datatype, _) in COLUMNS.items()},
        "a_text": "BYTES",
    }
    config = await stub.ModelConfig(pb.ModelConfigRequest(name="delays"))
    assert len({each.data_type for each in config.config.input}) == len(COLUMNS) + 1
    # Callers of several sizes at once, so that their rows are joined.
    columns = [rows_of(count) for count in (1, 3, 2, 5, 1, 4)]
    answers = await asyncio.gather(*(stub.ModelInfer(raw(each)) for each in columns))
    for sent, answer in zip(columns, answers, strict=True):
        place = [output.name for output in answer.outputs].index("probabilities")
        got = np.frombuffer(answer.raw_output_contents[place], "<f4").reshape(-1, 2)
        np.testing.assert_allclose(got[:, 1], probabilities_of(sent), rtol=1e-6)
    observed = next(each for each in plane.log.observations if each.rows.count == 5)
    batch = read_segment(layout_frame(0, observed) + rows_frame(0, observed)).batches[0]
    for name in COLUMNS:
        assert batch.column(f"f_{name}").to_pylist() == rows_of(5)[name].ravel().tolist()
    assert batch.column("f_a_text").to_pylist() == ["x"] * 5


def test_typed_contents_mean_the_same_as_raw_ones():
    columns = rows_of(3)
    request = typed(columns)
    del request.inputs[list(COLUMNS).index("a_fp16")]
    read = {tensor.name: tensor.data for tensor in query_of(request).tensors.tensors}
    assert read == {name: columns[name].tobytes() for name in COLUMNS if name != "a_fp16"}


@pytest.mark.parametrize(
    ("name", "field", "value"), [("a_int8", "int_contents", 300), ("a_fp16", "fp32_contents", 1.0)]
)
async def test_typed_contents_that_are_not_of_the_type_are_refused(
    plane, stub, tmp_path, name, field, value
):
    await plane.serve(published(tmp_path / "source", 1))
    request = typed(rows_of(1))
    (tensor,) = (each for each in request.inputs if each.name == name)
    tensor.ClearField("contents")
    getattr(tensor.contents, field).append(value)
    code, reason, fields = await error_of(stub.ModelInfer(request))
    assert (code, reason, fields) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_TENSOR", [name])


@pytest.mark.real
async def test_triton_gives_the_same_for_every_type(tmp_path, triton_server):
    async with background_tasks() as tasks:
        runtime = TritonRuntime(ReplicaPool([triton_server.address]), tasks, BatchLimits())
        async with data_plane(tmp_path, {Runtime.TRITON: runtime}) as plane:
            await plane.serve(published(tmp_path / "source", 1), runtime=Runtime.TRITON)
            async with (
                oip_server(plane, native=True) as address,
                aio_client.InferenceServerClient(address) as ours,
            ):
                for columns in (rows_of(1), rows_of(4)):
                    answer = await ours._client_stub.ModelInfer(raw(columns))
                    place = [output.name for output in answer.outputs].index("probabilities")
                    got = np.frombuffer(answer.raw_output_contents[place], "<f4").reshape(-1, 2)
                    np.testing.assert_allclose(got[:, 1], probabilities_of(columns), rtol=1e-6)
            await plane.predictor.endpoint("delays").variants[0].model.unload()
            plane.host.close()
        await runtime.close()


def test_a_snapshot_s_numbers_become_the_inputs_types_or_are_refused():
    columns = {name: rows_of(3)[name].ravel() for name in COLUMNS}
    kinds = {"b": np.bool_, "f": np.float64}
    table = pa.table(
        {
            **{
                name: values.astype(kinds.get(values.dtype.kind, np.int64))
                for name, values in columns.items()
            },
            "a_text": ["x", "y", "z"],
        }
    )
    fed = rows_of_table(table, SIGNATURE).feeds(SIGNATURE)
    for name, values in columns.items():
        np.testing.assert_array_equal(fed[name].ravel(), values)
    place = table.column_names.index("a_uint64")
    negative = table.set_column(place, "a_uint64", pa.array([1, -1, 1]))
    with pytest.raises(InvalidTensors):
        rows_of_table(negative, SIGNATURE)


def test_the_client_library_sends_each_column_in_its_type():
    inputs = [InputColumn(name, datatype) for name, (datatype, _) in COLUMNS.items()]
    sent = {name: values.ravel().tolist() for name, values in rows_of(3).items()}
    request = request_of("delays", inputs, sent, PredictOptions())
    assert request.raw_input_contents == [values.tobytes() for values in rows_of(3).values()]
    for name, wrong in (("a_int8", 200), ("a_uint8", -1), ("a_int32", 1.5), ("a_bool", None)):
        with pytest.raises(InvalidInput, match=name):
            request_of("delays", inputs, {**sent, name: [wrong] * 3}, PredictOptions())
    with pytest.raises(InvalidInput, match="BF16"):
        request_of("delays", [InputColumn("x", "BF16")], {"x": 1.0}, PredictOptions())
