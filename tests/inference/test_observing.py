"""Which requests are observed, and what of them is never written or sent."""

from __future__ import annotations

import json

import numpy as np
import pytest
import tritonclient.grpc.aio as aio_client
from hypothesis import given
from hypothesis import strategies as st

from services.inference.core.errors import InvalidObservationRules, RedactionKeyMissing
from services.inference.core.observing import (
    ObservationRules,
    Observer,
    Redaction,
    Treatment,
)
from services.inference.core.rows import Rows
from services.inference.core.signature import parse_signature
from tests.support.bundles import signature
from tests.support.oip_calls import FLIGHT, inputs_of
from tests.support.serving import ENDPOINT

SIGNATURE = parse_signature(json.dumps(signature()).encode())
KEY = b"0123456789abcdef"
ROWS = Rows(2, np.array([[1, 2], [3, 4]], dtype=np.float32), (["AA", ""],))


def observer(rate: float = 1.0, key: bytes = KEY, **treatments: Treatment) -> Observer:
    redactions = tuple(Redaction(name, each) for name, each in treatments.items())
    return Observer(ENDPOINT, ObservationRules(rate, redactions), SIGNATURE, key)


def test_a_dropped_feature_is_neither_in_the_rows_nor_in_the_signature():
    made = observer(distance=Treatment.DROP)
    assert [spec.name for spec in made.signature.inputs] == ["delay", "carrier"]
    seen = made.seen(ROWS)
    assert seen.numeric.tolist() == [[3.0, 4.0]]
    assert seen.text == (["AA", ""],)
    assert seen.source is None


def test_a_digest_stands_for_the_text_and_hangs_on_the_key():
    (mine,) = observer(carrier=Treatment.DIGEST).seen(ROWS).text
    (again,) = observer(carrier=Treatment.DIGEST).seen(ROWS).text
    (other,) = observer(key=KEY[::-1], carrier=Treatment.DIGEST).seen(ROWS).text
    assert mine == again
    assert "AA" not in mine
    assert mine[0] != other[0]
    assert mine[1] == "", "missing stays missing"


def test_without_a_key_what_should_be_digested_is_dropped():
    made = observer(key=b"", carrier=Treatment.DIGEST)
    assert made.seen(ROWS).text == ()
    assert "carrier" not in made.signature.slots


@given(st.text(max_size=20), st.floats(0.001, 1.0))
def test_a_request_that_is_sampled_stays_so_at_every_higher_rate(prediction_id, rate):
    if observer(rate).samples(prediction_id):
        assert observer(min(1.0, rate * 1.5)).samples(prediction_id)
    assert observer(1.0).samples(prediction_id)


def test_the_share_of_sampled_requests_is_the_rate():
    made = observer(0.1)
    sampled = sum(made.samples(f"request-{i}") for i in range(20_000))
    assert 1830 < sampled < 2170  # 4 standard deviations


@pytest.mark.parametrize(
    ("redactions", "field"),
    [
        ([Redaction("wind", Treatment.DROP)], "redactions[0].feature"),
        ([Redaction("delay", Treatment.DIGEST)], "redactions[0].feature"),
        ([Redaction("delay", Treatment.DROP)] * 2, "redactions[1].feature"),
    ],
    ids=["no input", "a number's digest", "twice"],
)
def test_redactions_that_could_not_be_kept_are_refused(redactions, field):
    with pytest.raises(InvalidObservationRules) as refused:
        ObservationRules(1.0, tuple(redactions)).check(SIGNATURE, has_key=True)
    assert [each.field for each in refused.value.violations] == [
        f"endpoint.observation_rules.{field}"
    ]


def test_a_digest_needs_a_key():
    rules = ObservationRules(1.0, (Redaction("carrier", Treatment.DIGEST),))
    with pytest.raises(RedactionKeyMissing):
        rules.check(SIGNATURE, has_key=False)


async def test_what_an_endpoint_redacts_reaches_no_log(plane, publish, oip_address):
    rules = ObservationRules(1.0, (Redaction("carrier", Treatment.DROP),))
    await plane.serve(publish(1), observation_rules=rules)
    async with aio_client.InferenceServerClient(oip_address) as client:
        await client.infer("delays", inputs_of(aio_client, FLIGHT))
    (observed,) = plane.log.observations
    assert observed.rows.text == ()
    assert observed.rows.source is None
    assert [spec.name for spec in observed.signature.inputs] == ["distance", "delay"]


async def test_requests_outside_the_sample_are_answered_and_counted(plane, publish, oip_address):
    await plane.serve(publish(1), observation_rules=ObservationRules(0.5))
    async with aio_client.InferenceServerClient(oip_address) as client:
        for i in range(40):
            await client.infer("delays", inputs_of(aio_client, FLIGHT), request_id=f"r-{i}")
    observed = len(plane.log.observations)
    assert 0 < observed < 40
    assert plane.meters.rows_not_sampled == 40 - observed
