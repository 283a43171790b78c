"""docs/training.md says what the recipes take, and its examples are good."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from google.protobuf.json_format import ParseDict
from roundhouse.cli.documents import read_document
from roundhouse.registry.v1.model_pb2 import PromotionPolicy
from roundhouse.trainer.v1 import job_pb2

from services.common.errors import FieldViolation
from services.trainer.adapters.learning.recipe import Recipe
from services.trainer.adapters.pruners import PRUNERS, Pruner
from services.trainer.adapters.quantizers import QUANTIZERS, Quantizer
from services.trainer.adapters.recipes import load_recipes
from services.trainer.core.abilities import ability_faults
from services.trainer.core.failures import ErrorClass
from services.trainer.core.fairness import DISPARITIES
from services.trainer.core.mode_faults import mode_faults
from services.trainer.core.parallelism_faults import parallelism_faults
from services.trainer.core.parents import Mode
from services.trainer.core.privacy_faults import privacy_faults
from services.trainer.core.reproduction import Subject
from services.trainer.core.row_changes import Check
from services.trainer.core.spec import JobSpec, spec_to_json
from services.trainer.core.text_faults import text_faults
from services.trainer.core.validation import spec_faults
from services.trainer.wire import spec_from_proto
from tests.support.class_values import class_spec, digit_spec
from tests.support.text_values import text_spec
from tests.support.trainer_values import spec

ALGORITHMS: dict[str, Recipe | Quantizer | Pruner] = {**load_recipes(), **QUANTIZERS, **PRUNERS}
DOCUMENT = Path(__file__).parents[2] / "docs" / "training.md"
EXAMPLES = [
    json.loads(part.split("```")[0]) for part in DOCUMENT.read_text().split("```json\n")[1:]
]

(TEXTS,) = (found for found in EXAMPLES if "KIND_TEXT" in json.dumps(found))


def test_the_tables_of_parameters_are_those_of_the_recipes() -> None:
    said = {}
    for section in DOCUMENT.read_text().split("\n### ")[1:]:
        algorithm = section.split("`")[1]
        rows = section.partition("\n## ")[0].splitlines()
        said[algorithm] = [row for row in rows if row.startswith("| `")]
    assert said == {
        algorithm: [
            f"| `{name}` | {rule.default:g} | {rule.minimum:g} | {rule.maximum:g} "
            f"| {'yes' if rule.whole else 'no'} |"
            for name, rule in recipe.rules.items()
        ]
        for algorithm, recipe in ALGORITHMS.items()
    }


def faults_of(example: dict[str, object], job: JobSpec) -> list[FieldViolation]:
    """What is wrong with `job` as `example` changes it."""
    message = ParseDict({**spec_to_json(job), **example}, job_pb2.JobSpec())
    rules = {name: each.rules for name, each in ALGORITHMS.items()}
    modes = {name: each.modes for name, each in ALGORITHMS.items()}
    abilities = {name: recipe.ability for name, recipe in load_recipes().items()}
    changed = spec_from_proto(message)
    return [
        *spec_faults(changed, rules),
        *ability_faults(changed, rules, abilities),
        *mode_faults(changed, modes, "spec"),
        *privacy_faults(changed, abilities, "spec"),
        *parallelism_faults(changed, abilities, "spec"),
        *text_faults(changed, abilities, {"minilm": 512}),
    ]


@pytest.mark.parametrize(
    "key",
    [
        "features",
        "split",
        "cross_validation",
        "minimum_gain",
        "maximum_loss",
        "calibration",
        "fairness",
        "robustness",
        "constraints",
        "tuning",
        "task",
        "parallelism",
    ],
)
def test_the_specs_of_the_document_are_good_ones(key: str) -> None:
    examples = [found for found in EXAMPLES if key in found and found != TEXTS]
    assert examples
    assert [fault for example in examples for fault in faults_of(example, spec())] == []


def test_the_spec_that_reads_a_text_is_a_good_one() -> None:
    assert faults_of(TEXTS, text_spec()) == []
    assert faults_of({**TEXTS, "candidates": [{"algorithm": "mlp"}]}, text_spec()) != []


def test_the_candidate_that_reads_images_is_a_good_one_for_digits() -> None:
    (example,) = (found for found in EXAMPLES if "cnn" in json.dumps(found))
    assert faults_of(example, digit_spec()) == []
    assert faults_of(example, class_spec()) != []


def test_the_table_of_modes_says_which_recipes_can_do_each() -> None:
    rows = [
        row.split(" | ") for row in DOCUMENT.read_text().splitlines() if row.startswith("| `MODE_")
    ]
    said = {row[0].strip("| `"): row[2].strip(" |") for row in rows}
    able = {
        mode.value: ", ".join(
            f"`{name}`" for name in sorted(ALGORITHMS) if mode in ALGORITHMS[name].modes
        )
        for mode in Mode
    }
    assert said == {**able, Mode.FULL.value: "all"}


def test_the_table_of_differences_between_groups_is_what_is_measured() -> None:
    rows = [row for row in DOCUMENT.read_text().splitlines() if row.startswith("| `fairness.")]
    said = [row.split("`")[1] for row in rows]
    assert said == [f"fairness.{name}.<column>" for name in DISPARITIES]


def test_the_table_of_checks_is_what_is_tried() -> None:
    section = DOCUMENT.read_text().split("\n## When rows come otherwise\n")[1].partition("\n## ")[0]
    said = [row.split("`")[1] for row in section.splitlines() if row.startswith("| `")]
    assert said == list(Check)


def test_the_table_of_subjects_is_what_is_compared() -> None:
    section = DOCUMENT.read_text().split("\n## The same again\n")[1].partition("\n## ")[0]
    said = [row.split("`")[1] for row in section.splitlines() if row.startswith("| `")]
    assert said == [subject.name.lower() for subject in Subject]


def test_the_rules_of_the_document_are_those_of_a_policy(tmp_path: Path) -> None:
    examples = [part.split("```")[0] for part in DOCUMENT.read_text().split("```yaml\n")[1:]]
    for number, example in enumerate(examples):
        file = tmp_path / f"{number}.yaml"
        file.write_text(example)
        assert len(read_document(file, PromotionPolicy()).rules) == 2


def test_the_table_of_errors_is_what_happens() -> None:
    section = DOCUMENT.read_text().split("\n## Errors\n")[1].partition("\n## ")[0]
    rows = [row.split(" | ") for row in section.splitlines() if row.startswith("| `")]
    said = {row[0].strip("| `"): row[1] == "yes" for row in rows}
    assert said == {each.value: each.retryable for each in ErrorClass}
