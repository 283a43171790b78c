"""Rows of plain values become inference requests, and answers become rows."""

from __future__ import annotations

import struct
from datetime import UTC, datetime, timedelta, timezone

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from roundhouse.client import InvalidInput, PredictOptions
from roundhouse.client.predictions import InputColumn, columns_of, prediction_of, request_of
from tritonclient.grpc import service_pb2 as oip

COLUMNS = (InputColumn("distance", "FP32"), InputColumn("carrier", "BYTES"))


def texts(data: bytes) -> list[str]:
    found = []
    while data:
        (length,) = struct.unpack_from("<I", data)
        found.append(data[4 : 4 + length].decode())
        data = data[4 + length :]
    return found


def contents(request) -> tuple[list[float], list[str]]:
    numbers, words = request.raw_input_contents
    return np.frombuffer(numbers, "<f4").tolist(), texts(words)


def test_one_row_is_a_request_of_one_row() -> None:
    request = request_of("e", COLUMNS, {"distance": 500, "carrier": "UA"}, PredictOptions())
    assert [list(tensor.shape) for tensor in request.inputs] == [[1, 1], [1, 1]]
    assert contents(request) == ([500.0], ["UA"])
    assert request.id


def test_rows_and_columns_and_arrays_say_the_same() -> None:
    rows = [{"distance": 1, "carrier": "UA"}, {"distance": 2, "carrier": "AA"}]
    columns = {"distance": [1, 2], "carrier": ["UA", "AA"]}
    arrays = {"distance": np.array([1, 2]), "carrier": np.array(["UA", "AA"], dtype=object)}
    options = PredictOptions(prediction_id="same")
    said = {
        request_of("e", COLUMNS, inputs, options).SerializeToString(deterministic=True)
        for inputs in (rows, columns, arrays)
    }
    assert len(said) == 1


def test_what_is_left_out_or_none_is_missing() -> None:
    request = request_of("e", COLUMNS, [{"distance": None}, {"carrier": "AA"}], PredictOptions())
    numbers, words = contents(request)
    assert np.isnan(numbers).all()
    assert words == ["", "AA"]


@pytest.mark.parametrize(
    "inputs",
    [
        {"altitude": 1},
        {"distance": "far"},
        {"carrier": 5},
        {"distance": [1, 2], "carrier": ["UA"]},
        [],
        {},
    ],
)
def test_values_that_do_not_fit_are_refused_before_anything_is_sent(inputs) -> None:
    with pytest.raises(InvalidInput):
        request_of("e", COLUMNS, inputs, PredictOptions())


@given(st.integers(min_value=0, max_value=10**17), st.integers(min_value=-12, max_value=12))
def test_event_time_is_exact_to_the_microsecond_in_any_zone(event_us: int, hours: int) -> None:
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=event_us)
    local = moment.astimezone(timezone(timedelta(hours=hours)))
    request = request_of("e", COLUMNS, {"distance": 1}, PredictOptions(event_time=local))
    assert request.parameters["event_time"].int64_param == event_us


def test_an_event_time_without_a_zone_is_refused() -> None:
    options = PredictOptions(event_time=datetime(2013, 1, 1))  # noqa: DTZ001  the point
    with pytest.raises(InvalidInput, match="time zone"):
        request_of("e", COLUMNS, {"distance": 1}, options)


def test_the_answer_has_a_score_a_label_and_an_action_per_row() -> None:
    response = oip.ModelInferResponse(id="p")
    outputs = {
        "label": np.array([1, 0], "<i8").tobytes(),
        "probabilities": np.array([[0.25, 0.75], [0.5, 0.5]], "<f4").tobytes(),
        "decision_label": b"\x01\0\0\x001\x01\0\0\x000",
        "decision_action": b"\x04\0\0\0warn\0\0\0\0",
        "confidence": np.array([0.75, 0.5], "<f4").tobytes(),
    }
    for name, data in outputs.items():
        response.outputs.add(name=name, shape=[2, 2] if name == "probabilities" else [2])
        response.raw_output_contents.append(data)
    response.parameters["prediction_id"].string_param = "p"
    response.parameters["variant"].string_param = "projects/p/models/m/versions/3"
    response.parameters["policy_version"].int64_param = 2
    answer = prediction_of(response)
    assert answer.scores.tolist() == [0.75, 0.5]
    assert answer.labels.tolist() == [1, 0]
    assert answer.actions == ("warn", "")
    assert answer.confidences.tolist() == [0.75, 0.5]
    assert answer.model_version == "projects/p/models/m/versions/3"
    assert answer.policy_version == 2
    assert answer.row_id(1) == "p:1"


def test_columns_come_from_the_endpoints_metadata() -> None:
    metadata = oip.ModelMetadataResponse()
    metadata.inputs.add(name="distance", datatype="FP32", shape=[-1, 1])
    metadata.inputs.add(name="carrier", datatype="BYTES", shape=[-1, 1])
    assert columns_of(metadata) == COLUMNS


def test_an_endpoint_of_more_than_two_classes_is_refused_before_anything_is_sent() -> None:
    metadata = oip.ModelMetadataResponse(name="digits")
    metadata.outputs.add(name="probabilities", datatype="FP32", shape=[-1, 10])
    with pytest.raises(InvalidInput, match="digits tells 10 classes"):
        columns_of(metadata)
    metadata.outputs[0].shape[1] = 2
    assert columns_of(metadata) == ()


def test_an_endpoint_of_quantities_is_refused_before_anything_is_sent() -> None:
    metadata = oip.ModelMetadataResponse(name="delays")
    metadata.outputs.add(name="prediction", datatype="FP32", shape=[-1, 1])
    with pytest.raises(InvalidInput, match="delays tells a quantity"):
        columns_of(metadata)
