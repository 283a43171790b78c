"""What is asked to be accelerated, what it takes and costs, and what can't be."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.trainer.core.abilities import Ability
from services.trainer.core.acceleration import Acceleration, Device, Precision
from services.trainer.core.acceleration_faults import acceleration_faults
from services.trainer.core.money import PriceTable
from services.trainer.core.parallelism import Parallelism
from services.trainer.core.parents import Mode
from services.trainer.core.privacy import Privacy
from services.trainer.core.queues import Amounts, needed
from services.trainer.core.spec import spec_from_json, spec_to_json
from tests.support.trainer_values import TERMS, spec

ABILITIES = {
    "cnn": Ability(accelerates=True, compiles=True),
    "text_full": Ability(accelerates=True),
    "decision_tree": Ability(),
}
GPU = Acceleration(Device.GPU)
COMPILED = Acceleration(compile=True)
MACHINE = Amounts(4, 16, 65536, 4)
ANY = st.builds(Acceleration, st.sampled_from(Device), st.sampled_from(Precision), st.booleans())


def faults(*algorithms: str, gpus: int = 2, **changes: Any) -> list[tuple[str, str]]:
    asked = spec(*algorithms or ("cnn",), **changes)
    found = acceleration_faults(asked, ABILITIES, gpus, "spec")
    return [(fault.field, fault.description) for fault in found]


@given(ANY)
def test_json_keeps_what_is_asked(asked: Acceleration) -> None:
    wanted = spec("cnn", acceleration=asked)
    assert spec_from_json(spec_to_json(wanted)) == wanted


def test_what_is_left_out_is_the_cpu_in_32_bits() -> None:
    document = {**spec_to_json(spec("cnn")), "acceleration": {}}
    assert spec_from_json(document).acceleration == Acceleration()
    assert spec("cnn", acceleration=Acceleration()).gpus == 0


@pytest.mark.parametrize(("workers", "gpus"), [(None, 1), (Parallelism(1, 3), 3)])
def test_each_worker_takes_a_gpu_and_pays_for_it(workers: Parallelism | None, gpus: int) -> None:
    asked = spec("cnn", threads=1, memory_mib=1024, acceleration=GPU, parallelism=workers)
    assert needed(asked, MACHINE) == Amounts(1, gpus, gpus * 1024, gpus)
    terms = replace(TERMS, prices=PriceTable("test", "USD", 100, 10, 700), machine=MACHINE)
    assert terms.rate(asked) == gpus * (100 + 10 + 700)
    assert terms.rate(replace(asked, acceleration=None)) == gpus * (100 + 10)


def test_gpus_are_a_part_of_shares_and_quotas() -> None:
    assert Amounts(1, 1, 1024, 3).share_of(MACHINE) == 3 / 4
    assert Amounts(1, 1, 1024).share_of(Amounts(4, 16, 65536)) == 1 / 4
    assert Amounts(gpus=2).within(Amounts(gpus=2))
    assert not Amounts(gpus=3).within(Amounts(gpus=2))
    assert Amounts(gpus=3).within(Amounts(jobs=1))
    assert str(Amounts(1, 2, 3, 4)) == "1 jobs, 2 threads, 3 MiB, 4 GPUs"


def test_what_asks_for_nothing_or_for_what_there_is_is_taken() -> None:
    assert faults("decision_tree") == []
    assert faults(acceleration=GPU) == []
    assert faults("text_full", acceleration=GPU) == []
    assert faults(acceleration=COMPILED, gpus=0) == []
    assert faults(acceleration=GPU, parallelism=Parallelism(1, 2)) == []


@pytest.mark.parametrize(
    ("changes", "field", "says"),
    [
        ({"acceleration": GPU, "gpus": 0}, "spec.acceleration.device", "1 GPUs.* has 0"),
        (
            {"acceleration": GPU, "parallelism": Parallelism(1, 3)},
            "spec.acceleration.device",
            "3 GPUs, one for each worker; this trainer has 2",
        ),
        ({"acceleration": GPU, "mode": Mode.PRUNING}, "spec.acceleration", "trains none"),
        ({"acceleration": GPU, "privacy": Privacy(3.0, 1e-5, 1.0)}, "spec.privacy", "on the CPU"),
        (
            {"acceleration": COMPILED, "parallelism": Parallelism(1, 2)},
            "spec.acceleration.compile",
            "for one worker",
        ),
    ],
)
def test_what_can_not_be_accelerated_is_refused_by_its_field(
    changes: dict[str, Any], field: str, says: str
) -> None:
    ((named, text),) = faults(**changes)
    assert named == field
    assert re.search(says, text), text


def test_algorithms_that_nothing_accelerates_are_refused() -> None:
    ((field, text),) = faults("cnn", "decision_tree", acceleration=GPU)
    assert field == "spec.candidates[1].algorithm"
    assert text == "is 'decision_tree', which can't be accelerated; cnn, text_full can"
    ((field, text),) = faults("text_full", acceleration=COMPILED)
    assert field == "spec.candidates[0].algorithm"
    assert text == "is 'text_full', which can't be compiled; cnn can"
