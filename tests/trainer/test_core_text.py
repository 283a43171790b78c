"""Specs with texts: their JSON form, and what is refused by field."""

from __future__ import annotations

from typing import Any

import pytest

from services.trainer.core.abilities import Ability
from services.trainer.core.mode_faults import mode_faults
from services.trainer.core.parents import Mode
from services.trainer.core.spec import (
    Candidate,
    Feature,
    FeatureKind,
    spec_from_json,
    spec_to_json,
)
from services.trainer.core.text_faults import text_faults
from services.trainer.core.validation import schema_faults, spec_faults
from tests.support.text_values import text_spec
from tests.support.trainer_values import spec

ABILITIES = {"text_frozen": Ability(reads_text=True), "mlp": Ability()}
ENCODERS = {"small": 64}
TEXT = Feature("review", FeatureKind.TEXT, encoder="small", max_tokens=24)


def faulty_fields(**changes: Any) -> list[str]:
    faults = text_faults(text_spec(**changes), ABILITIES, ENCODERS)
    return [fault.field.removeprefix("training_job.spec.") for fault in faults]


def test_a_spec_with_a_text_survives_its_json_and_reads_128_tokens_unless_it_says() -> None:
    job = text_spec()
    assert spec_from_json(spec_to_json(job)) == job
    document = spec_to_json(job)
    del document["features"][0]["max_tokens"]
    assert spec_from_json(document).features[0].max_tokens == 128
    assert faulty_fields() == []


@pytest.mark.parametrize(
    ("changes", "fields"),
    [
        ({"encoder": "../../etc"}, ["features[0].encoder"]),
        ({"encoder": ""}, ["features[0].encoder"]),
        ({"max_tokens": 7}, ["features[0].max_tokens"]),
        ({"max_tokens": 65}, ["features[0].max_tokens"]),
    ],
)
def test_an_encoder_is_one_that_is_configured_and_reads_no_more_than_it_can(
    changes: dict[str, Any], fields: list[str]
) -> None:
    text = Feature(**{"encoder": "small", "max_tokens": 24, **changes}, name="a", kind=TEXT.kind)
    assert faulty_fields(features=(text,)) == fields


def test_what_is_for_texts_is_refused_of_other_features_and_the_reverse() -> None:
    number = Feature("a", FeatureKind.NUMERIC, encoder="small", max_tokens=9)
    text = Feature("b", FeatureKind.TEXT, 0.0, 1.0, None, ("x",), False, "small", 24)
    job = text_spec("mlp", features=(number, text))
    assert {fault.field.rpartition(".")[2] for fault in spec_faults(job, {"mlp": {}})} >= {
        "values",
        "minimum",
        "maximum",
    }
    fields = faulty_fields(features=(number, text), candidates=(Candidate("text_frozen", {}),))
    assert fields == ["features[0].encoder", "features[0].max_tokens", "candidates[0].algorithm"]


def test_algorithms_that_read_no_text_are_refused_one_and_those_that_do_nothing_else() -> None:
    both = (Candidate("mlp", {}), Candidate("text_frozen", {}), Candidate("int8_static", {}))
    assert faulty_fields(candidates=both) == ["candidates[0].algorithm", "candidates[2].algorithm"]
    tabular = text_faults(spec("mlp", "text_frozen"), ABILITIES, ENCODERS)
    assert [fault.field for fault in tabular] == ["training_job.spec.candidates[1].algorithm"]


def test_a_graph_that_reads_a_text_goes_on_reading_it_when_its_weights_become_integers() -> None:
    abilities = {"int8_dynamic": Ability(reads_text=True), "int8_static": Ability()}
    quantised = {"mode": Mode.QUANTIZATION, "parent_version": "v"}
    dynamic, static = (
        list(text_faults(text_spec(name, **quantised), abilities, ENCODERS))
        for name in sorted(abilities)
    )
    assert dynamic == []
    assert [fault.field for fault in static] == ["training_job.spec.candidates[0].algorithm"]
    assert "int8_dynamic can" in static[0].description
    assert list(text_faults(spec("int8_dynamic", **quantised), abilities, ENCODERS)) == []


def test_what_reads_a_text_has_nothing_to_prune() -> None:
    job = text_spec("fewer_units", mode=Mode.PRUNING, parent_version="v")
    assert [fault.field for fault in mode_faults(job, {}, "spec")] == ["spec.mode"]


def test_a_text_is_a_column_of_strings() -> None:
    columns = {"review": "string", "written": "timestamp[us]", "praise": "int64"}
    assert schema_faults(text_spec(), columns) == []
    (fault,) = schema_faults(text_spec(), {**columns, "review": "int64"})
    assert fault.field == "training_job.spec.features[0].name"
