"""What a request's tensors must be."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.common.errors import ServiceError
from services.inference.core.errors import InvalidTensors, UnservableBundle
from services.inference.core.rows import WireTensor, joined, parse_rows
from services.inference.core.samples import sample_rows
from services.inference.core.signature import parse_signature
from services.inference.core.wire import decoded_texts, encoded_texts
from tests.support.bundles import raw_floats, signature

SIGNATURE = parse_signature(json.dumps(signature()).encode())
MAX_ROWS = 100

floats = st.floats(width=32, allow_infinity=False)
present = st.floats(width=32, allow_infinity=False, allow_nan=False)


def tensors(distance, delay, carrier):
    return [
        WireTensor("distance", "FP32", (len(distance), 1), raw_floats(distance)),
        WireTensor("carrier", "BYTES", (len(carrier), 1), encoded_texts(carrier)),
        WireTensor("delay", "FP32", (len(delay), 1), raw_floats(delay)),
    ]


def faults_of(given_tensors) -> dict[str, str]:
    with pytest.raises(InvalidTensors) as caught:
        parse_rows(SIGNATURE, given_tensors, max_rows=MAX_ROWS)
    return {violation.field: violation.description for violation in caught.value.violations}


@given(st.lists(st.tuples(floats, present, st.text(max_size=8)), min_size=1, max_size=20))
def test_rows_arrive_as_they_were_sent(sent):
    distance, delay, carrier = map(list, zip(*sent, strict=True))
    rows = parse_rows(SIGNATURE, tensors(distance, delay, carrier), max_rows=MAX_ROWS)
    feeds = rows.feeds(SIGNATURE)
    np.testing.assert_array_equal(feeds["distance"][:, 0], np.float32(distance))
    np.testing.assert_array_equal(feeds["delay"][:, 0], np.float32(delay))
    assert feeds["carrier"][:, 0].tolist() == carrier
    assert {feed.shape for feed in feeds.values()} == {(len(sent), 1)}


@given(st.lists(st.integers(1, 5), min_size=1, max_size=6))
def test_joined_blocks_keep_the_order_of_their_rows(counts):
    blocks = [
        parse_rows(
            SIGNATURE,
            tensors([float(i)] * n, [float(i)] * n, [str(i)] * n),
            max_rows=MAX_ROWS,
        )
        for i, n in enumerate(counts)
    ]
    whole = joined(blocks)
    expected = [i for i, n in enumerate(counts) for _ in range(n)]
    assert whole.count == len(expected)
    assert whole.numeric[0].tolist() == expected
    assert whole.text[0] == [str(i) for i in expected]


def test_unknown_and_missing_inputs_are_both_named():
    given_tensors = tensors([1.0], [1.0], ["AA"])[:2]
    given_tensors.append(WireTensor("speed", "FP32", (1, 1), raw_floats([1.0])))
    assert faults_of(given_tensors).keys() == {"speed", "delay"}


def test_a_repeated_input_is_named():
    once = tensors([1.0], [1.0], ["AA"])
    assert faults_of([*once, once[0]]) == {"distance": "is given twice"}


@pytest.mark.parametrize(
    ("fault", "word"),
    [
        (WireTensor("delay", "FP64", (1, 1), b"\0" * 8), "FP64"),
        (WireTensor("delay", "FP32", (1,), raw_floats([1.0])), "shape"),
        (WireTensor("delay", "FP32", (1, 2), raw_floats([1.0, 2.0])), "shape"),
        (WireTensor("delay", "FP32", (2, 1), raw_floats([1.0, 2.0])), "shape"),
        (WireTensor("delay", "FP32", (1, 1), b"\0" * 3), "bytes"),
        (WireTensor("delay", "FP32", (1, 1), raw_floats([math.inf])), "infinity"),
        (WireTensor("delay", "FP32", (1, 1), raw_floats([-math.inf])), "infinity"),
        (WireTensor("delay", "FP32", (1, 1), raw_floats([math.nan])), "nullable"),
        (WireTensor("carrier", "BYTES", (1, 1), b"\xff\xff\xff\xff"), "element"),
        (WireTensor("carrier", "BYTES", (1, 1), b"\1\0\0"), "length"),
        (WireTensor("carrier", "BYTES", (1, 1), b"\1\0\0\0\xff"), "decode"),
        (WireTensor("carrier", "BYTES", (1, 1), encoded_texts(["a", "b"])), "elements"),
    ],
)
def test_a_wrong_tensor_is_named_with_its_fault(fault, word):
    rest = [each for each in tensors([1.0], [1.0], ["AA"]) if each.name != fault.name]
    faults = faults_of([*rest, fault])
    assert list(faults) == [fault.name]
    assert word in faults[fault.name]


@pytest.mark.parametrize("count", [0, MAX_ROWS + 1])
def test_a_row_count_out_of_range_is_refused(count):
    assert "rows" in faults_of(tensors([1.0] * count, [1.0] * count, ["AA"] * count))["distance"]


def test_no_input_at_all_is_refused():
    assert "inputs" in faults_of([])


@given(st.binary(max_size=64), st.integers(0, 5))
def test_rubbish_texts_are_decoded_or_refused_never_worse(data, count):
    try:
        assert encoded_texts(decoded_texts(data, count)) == data
    except ValueError:
        pass


@given(
    st.lists(
        st.builds(
            WireTensor,
            st.sampled_from(["distance", "delay", "carrier", "other", ""]),
            st.sampled_from(["FP32", "BYTES", "INT64", ""]),
            st.lists(st.integers(-2, 3), max_size=3).map(tuple),
            st.binary(max_size=16),
        ),
        max_size=5,
    )
)
def test_rubbish_tensors_are_refused_with_a_reason_or_fit(given_tensors):
    try:
        rows = parse_rows(SIGNATURE, given_tensors, max_rows=MAX_ROWS)
    except ServiceError as error:
        assert error.reason == "INVALID_TENSOR"
    else:
        assert rows.numeric.shape == (2, rows.count)


def test_values_outside_what_training_saw_are_counted():
    rows = parse_rows(
        SIGNATURE,
        tensors([-1.0, math.nan, 5000.0], [601.0, 0.0, 0.0], ["AA", "ZZ", ""]),
        max_rows=MAX_ROWS,
    )
    assert rows.out_of_range(SIGNATURE) == 3


def test_sample_rows_are_within_what_training_saw():
    assert sample_rows(SIGNATURE, 3).out_of_range(SIGNATURE) == 0


@pytest.mark.parametrize(
    "changes",
    [
        {"inputs": []},
        {"outputs": []},
        {"inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 3], "nullable": True}]},
        {"inputs": [{"name": "x", "datatype": "BF16", "shape": [-1, 1], "nullable": True}]},
        {"inputs": [{"name": "x"}]},
        {"inputs": [signature()["inputs"][0]] * 2},
    ],
)
def test_signatures_that_cannot_be_served_are_refused(changes):
    with pytest.raises(UnservableBundle):
        parse_signature(json.dumps(signature(**changes)).encode())


def test_a_signature_that_is_no_json_is_refused():
    with pytest.raises(UnservableBundle):
        parse_signature(b"{")
