"""What can be asked for together with differential privacy."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf.json_format import MessageToDict, ParseDict
from roundhouse.trainer.v1 import job_pb2

from services.trainer.core.abilities import Ability
from services.trainer.core.calibration import CalibrationMethod
from services.trainer.core.parents import Mode
from services.trainer.core.privacy import Privacy, PrivacySpent
from services.trainer.core.privacy_faults import privacy_faults
from services.trainer.core.spec import Candidate, spec_from_json, spec_to_json
from services.trainer.core.tuning import Sampler, Tuning
from tests.support.trainer_values import spec

PRIVACY = Privacy(3.0, 1e-5, 1.0)
ABILITIES = {"mlp": Ability(trains_privately=True), "decision_tree": Ability()}


def faulty(*algorithms: str, **asked: Any) -> list[str]:
    asked_for = spec(*algorithms, privacy=PRIVACY, **asked)
    return [fault.field for fault in privacy_faults(asked_for, ABILITIES, "spec")]


def test_one_network_in_full_training_can_be_private() -> None:
    assert faulty("mlp") == []
    assert list(privacy_faults(spec("decision_tree"), ABILITIES, "spec")) == []


@pytest.mark.parametrize(
    ("algorithms", "asked", "field"),
    [
        (("decision_tree",), {}, "spec.candidates[0].algorithm"),
        (("mlp", "mlp"), {}, "spec.candidates"),
        (("mlp",), {"cross_validation_folds": 3}, "spec.cross_validation"),
        (("mlp",), {"calibration": CalibrationMethod.SIGMOID}, "spec.calibration"),
        (("mlp",), {"mode": Mode.WARM_START}, "spec.mode"),
        (("mlp",), {"tuning": Tuning(Sampler.RANDOM, None, 2)}, "spec.tuning"),
    ],
)
def test_what_would_spend_privacy_that_nobody_counts_is_refused_by_its_field(
    algorithms: tuple[str, ...], asked: dict[str, Any], field: str
) -> None:
    assert faulty(*algorithms, **asked) == [field]


@pytest.mark.parametrize("privacy", [PRIVACY, Privacy(1.0, 1e-6, 0.5, noise_multiplier=1.5)])
def test_a_spec_with_privacy_comes_back_from_the_contract(privacy: Privacy) -> None:
    asked = spec(candidates=(Candidate("mlp", {}),), privacy=privacy)
    message = ParseDict(spec_to_json(asked), job_pb2.JobSpec())
    assert spec_from_json(MessageToDict(message, preserving_proto_field_name=True)) == asked


def test_a_norm_that_is_left_out_is_1() -> None:
    message = ParseDict(spec_to_json(spec("mlp", privacy=PRIVACY)), job_pb2.JobSpec())
    message.privacy.max_grad_norm = 0
    read = spec_from_json(MessageToDict(message, preserving_proto_field_name=True))
    assert read.privacy == PRIVACY


def test_what_was_spent_is_told_as_metrics_and_as_labels() -> None:
    spent = PrivacySpent(2.99437, 1e-5, 1.25, 1.0, steps=80, epochs=4)
    assert spent.metrics == {"privacy.epsilon": 2.99437, "privacy.delta": 1e-5}
    assert spent.labels == {"privacy_epsilon": "2.99437", "privacy_delta": "1e-05"}
