"""Requests read without decoding them mean what the decoded ones do."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tritonclient.grpc import service_pb2 as pb

from services.common.errors import InvalidRequest, ServiceError
from services.inference.adapters.triton.repository import infer_request, model_name
from services.inference.api.oip.answers import response_bytes
from services.inference.api.oip.decode import query_of
from services.inference.api.oip.packed import RequestReader
from services.inference.core.decisions import DecisionPolicy
from services.inference.core.layouts import PackedTensors
from services.inference.core.ports import Bundle
from services.inference.core.predictions import Prediction
from services.inference.core.routing import Variant
from services.inference.core.rows import LooseTensors, joined
from services.inference.core.served import ServedVariant
from services.inference.core.signature import parse_signature
from services.inference.core.wire import encoded_texts, varint
from tests.support.bundles import raw_floats, signature
from tests.support.serving import MemoryMeters, version_name

SIGNATURE = parse_signature(json.dumps(signature()).encode())
MAX_ROWS = 200

floats = st.floats(width=32)
texts = st.text(max_size=200)
rows = st.lists(st.tuples(floats, floats, texts), min_size=1, max_size=5)
orders = st.permutations(["distance", "delay", "carrier"])


def request_of(sent, order=("distance", "delay", "carrier"), **fields) -> pb.ModelInferRequest:
    columns = dict(zip(("distance", "delay", "carrier"), zip(*sent, strict=True), strict=True))
    request = pb.ModelInferRequest(model_name="delays", **fields)
    for name in order:
        is_text = name == "carrier"
        request.inputs.add(name=name, datatype="BYTES" if is_text else "FP32", shape=(len(sent), 1))
        encode = encoded_texts if is_text else raw_floats
        request.raw_input_contents.append(encode(columns[name]))
    return request


def meaning(query) -> tuple:
    """What a query asks, and its rows or why it has none."""
    asked = replace(query, tensors=None, deadline=None)
    try:
        rows = query.tensors.rows(SIGNATURE, max_rows=MAX_ROWS)
    except ServiceError as error:
        return asked, type(error), sorted(map(repr, error.violations))
    return asked, rows.count, rows.numeric.tobytes(), rows.text


def outcome(read, data) -> tuple:
    try:
        query = read(data)
    except ServiceError as error:
        return type(error), str(error)
    return meaning(query)


def decode(data: bytes):
    return query_of(pb.ModelInferRequest.FromString(data))


@settings(max_examples=60)
@given(rows, rows, orders, st.text(max_size=130), st.sampled_from(["", "1"]))
def test_a_known_layout_reads_as_decoding_does(first, later, order, prediction_id, version):
    reader = RequestReader()
    reader.query(request_of(first, order).SerializeToString())
    fitted = (later * len(first))[: len(first)]
    request = request_of(fitted, order, model_version=version, id=prediction_id)
    request.parameters["event_time"].int64_param = 7
    data = request.SerializeToString()
    assert outcome(reader.query, data) == outcome(decode, data)


@settings(max_examples=60)
@given(rows, st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 255)), max_size=4))
def test_a_damaged_request_reads_as_decoding_it_does(sent, damage):
    reader = RequestReader()
    data = bytearray(request_of(sent, outputs=[{"name": "label"}]).SerializeToString())
    reader.query(bytes(data))
    for place, value in damage:
        data[place % len(data)] = value
    try:
        expected = outcome(decode, bytes(data))
    except Exception:
        with pytest.raises(InvalidRequest):
            reader.query(bytes(data))
    else:
        assert outcome(reader.query, bytes(data)) == expected


@settings(max_examples=60)
@given(rows, st.integers(0, 2000))
def test_a_request_cut_short_reads_as_decoding_it_does(sent, end):
    reader = RequestReader()
    whole = request_of(sent).SerializeToString()
    reader.query(whole)
    data = whole[: end % len(whole)]
    try:
        expected = outcome(decode, data)
    except Exception:
        with pytest.raises(InvalidRequest):
            reader.query(data)
    else:
        assert outcome(reader.query, data) == expected


def test_the_second_request_of_a_layout_is_not_decoded():
    reader = RequestReader()
    sent = [(1.0, 2.0, "AA")]
    assert isinstance(reader.query(request_of(sent).SerializeToString()).tensors, LooseTensors)
    other = request_of([(3.0, 4.0, "a longer text")], id="x").SerializeToString()
    assert isinstance(reader.query(other).tensors, PackedTensors)


def test_one_layout_serves_versions_with_other_orders_of_inputs():
    document = signature()
    document["inputs"].reverse()
    turned = parse_signature(json.dumps(document).encode())
    reader = RequestReader()
    data = request_of([(1.0, 2.0, "AA")]).SerializeToString()
    reader.query(data)
    tensors = reader.query(data).tensors
    for _ in range(2):
        assert tensors.rows(SIGNATURE, max_rows=9).numeric[:, 0].tolist() == [1.0, 2.0]
        assert tensors.rows(turned, max_rows=9).numeric[:, 0].tolist() == [2.0, 1.0]


@settings(max_examples=40)
@given(st.lists(rows, min_size=1, max_size=4), orders)
def test_triton_is_asked_for_the_rows_of_one_caller_or_of_many(callers, order):
    bundle = Bundle(version_name(1), "sha256:" + "1" * 64, Path(), SIGNATURE)
    reader = RequestReader()
    blocks = []
    for sent in callers:
        known = [(0.0 if math.isinf(a) else a, 1.0, c) for a, _, c in sent]
        data = request_of(known, order, id="x").SerializeToString()
        reader.query(data)
        blocks.append(reader.query(data).tensors.rows(SIGNATURE, max_rows=MAX_ROWS))
    whole = joined(blocks)
    asked = pb.ModelInferRequest.FromString(infer_request(bundle, whole))
    assert asked.model_name == model_name(bundle)
    assert (asked.model_version, asked.id) == ("1", "")
    tensors = {
        tensor.name: (tensor.datatype, tuple(tensor.shape), raw)
        for tensor, raw in zip(asked.inputs, asked.raw_input_contents, strict=True)
    }
    shape = (whole.count, 1)
    texts = encoded_texts(whole.text[0])
    assert tensors == {
        "distance": ("FP32", shape, whole.numeric[0].tobytes()),
        "delay": ("FP32", shape, whole.numeric[1].tobytes()),
        "carrier": ("BYTES", shape, texts),
    }
    if len(callers) == 1:
        assert infer_request(bundle, whole).endswith(data[data.index(b"*") :])


def test_a_request_that_chooses_outputs_is_not_passed_on_as_it_is():
    reader = RequestReader()
    data = request_of([(1.0, 2.0, "AA")], outputs=[{"name": "label"}]).SerializeToString()
    reader.query(data)
    assert reader.query(data).tensors.rows(SIGNATURE, max_rows=9).source is None


def test_layouts_are_forgotten_before_they_fill_the_memory():
    reader = RequestReader()
    for count in range(1, 1200):
        request = pb.ModelInferRequest(model_name="delays")
        request.inputs.add(name="distance", datatype="FP32", shape=(count, 1))
        request.raw_input_contents.append(bytes(4 * count))
        reader.query(request.SerializeToString())
    assert len(reader._layouts) <= 1024


@given(
    st.text(max_size=300),
    st.integers(0, 2**62),
    st.sampled_from([0, 3, 1000]),
    st.integers(1, 40),
    st.booleans(),
)
def test_an_answer_put_together_decodes_to_what_was_meant(
    prediction_id, time_us, out_of_range, count, with_texts
):
    policy = DecisionPolicy(version=3, positive_action="rebook", negative_action="").decider("e")
    scores = np.linspace(0, 1, count, dtype=np.float32)
    outputs = {
        "label": (scores > 0.5).astype(np.int64),
        "probabilities": np.stack([1 - scores, scores], axis=1),
    }
    if with_texts:
        outputs["decision_action"] = np.array(["rebook"] * count, dtype=np.object_)
    variant = Variant(version_name(3), "sha256:" + "0" * 64, 10_000)
    served = ServedVariant(variant, "3", SIGNATURE, None, MemoryMeters())
    decision = policy.decide(float(scores[0])) if count == 1 else None
    answer = pb.ModelInferResponse.FromString(
        response_bytes(
            "delays",
            Prediction(served, policy, prediction_id, time_us, outputs, decision, out_of_range),
        )
    )
    assert (answer.model_name, answer.model_version) == ("delays", "3")
    assert answer.id == prediction_id
    told = {
        name: getattr(value, value.WhichOneof("parameter_choice"))
        for name, value in answer.parameters.items()
    }
    expected = {
        "model_digest": variant.digest,
        "model_version": "3",
        "variant": variant.version,
        "policy_version": 3,
        "policy": "e/decisionPolicies/3",
        "prediction_id": prediction_id,
        "time": time_us,
    }
    if out_of_range:
        expected["out_of_range"] = out_of_range
    if decision:
        expected |= {
            "label": decision.label,
            "labels": str(decision.label),
            "action": decision.action,
            "actions": decision.action,
            "confidence": decision.confidence,
        }
    assert told == expected
    assert [(o.name, tuple(o.shape)) for o in answer.outputs] == [
        (name, array.shape) for name, array in outputs.items()
    ]
    raw = dict(zip(outputs, answer.raw_output_contents, strict=True))
    assert raw["probabilities"] == outputs["probabilities"].tobytes()
    assert raw["label"] == outputs["label"].tobytes()
    if with_texts:
        assert raw["decision_action"] == encoded_texts(["rebook"] * count)


@pytest.mark.parametrize(
    ("value", "written"), [(0, b"\0"), (127, b"\x7f"), (128, b"\x80\1"), (300, b"\xac\2")]
)
def test_numbers_are_written_as_protobuf_does(value, written):
    assert varint(value) == written
