"""How batches are shared out, what several workers cost, and what they can't train."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.trainer.core.abilities import Ability
from services.trainer.core.money import PriceTable
from services.trainer.core.parallelism import Parallelism, shared_out
from services.trainer.core.parallelism_faults import parallelism_faults
from services.trainer.core.parents import Mode
from services.trainer.core.privacy import Privacy
from services.trainer.core.queues import Amounts, needed
from services.trainer.core.spec import spec_from_json, spec_to_json
from services.trainer.core.tuning import Sampler, Tuning
from tests.support.trainer_values import TERMS, spec

ABILITIES = {
    "mlp": Ability(trains_in_parallel=True),
    "decision_tree": Ability(),
}
MACHINE = Amounts(1, 16, 65536)


def faults(*algorithms: str, **changes: Any) -> list[str]:
    asked = spec(*algorithms or ("mlp",), **changes)
    return [fault.field for fault in parallelism_faults(asked, ABILITIES, "spec")]


@given(shards=st.integers(1, 64), workers=st.integers(1, 64))
def test_each_shard_has_one_worker_and_no_worker_two_more_than_another(
    shards: int, workers: int
) -> None:
    parts = shared_out(shards, workers)
    assert len(parts) == workers
    assert [shard for part in parts for shard in part] == list(range(shards))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


@given(least=st.integers(1, 64), most=st.integers(1, 64), shards=st.integers(1, 64))
def test_json_keeps_how_many_workers_are_asked_for(least: int, most: int, shards: int) -> None:
    asked = spec("mlp", parallelism=Parallelism(least, most, shards))
    assert spec_from_json(spec_to_json(asked)) == asked


def test_what_is_left_out_is_one_worker_at_least_and_eight_shards() -> None:
    document = {**spec_to_json(spec("mlp")), "parallelism": {"max_workers": 3}}
    assert spec_from_json(document).parallelism == Parallelism(1, 3, 8)


def test_all_workers_of_an_attempt_count_and_cost() -> None:
    asked = spec("mlp", threads=2, memory_mib=1024, parallelism=Parallelism(1, 3))
    assert needed(asked, MACHINE) == Amounts(1, 6, 3072)
    terms = replace(TERMS, prices=PriceTable("test", "USD", 100, 10), machine=MACHINE)
    assert terms.rate(asked) == 6 * 100 + 3 * 10
    assert terms.rate(asked) == 3 * terms.rate(replace(asked, parallelism=None))


def test_workers_that_share_take_a_thread_each_where_the_spec_names_none() -> None:
    asked = spec("mlp", threads=0, parallelism=Parallelism(1, 3))
    assert (asked.worker_threads(16), asked.reserved_threads(16)) == (1, 3)
    alone = replace(asked, parallelism=None)
    assert (alone.worker_threads(16), alone.reserved_threads(16)) == (16, 16)


def test_a_network_that_several_can_train_has_no_fault() -> None:
    assert faults(parallelism=Parallelism(2, 4)) == []
    assert faults("decision_tree") == []


@pytest.mark.parametrize(
    ("changes", "fields"),
    [
        ({"parallelism": Parallelism(3, 2)}, ["parallelism.min_workers"]),
        ({"parallelism": Parallelism(1, 9)}, ["parallelism.max_workers"]),
        ({"mode": Mode.QUANTIZATION}, ["parallelism"]),
        ({"privacy": Privacy(1.0, 1e-5, 1.0)}, ["privacy"]),
        (
            {"tuning": Tuning(Sampler.RANDOM, None, 4, parallel_trials=2)},
            ["tuning.parallel_trials"],
        ),
    ],
)
def test_what_can_t_be_shared_is_named_by_its_field(
    changes: dict[str, Any], fields: list[str]
) -> None:
    found = faults(**{"parallelism": Parallelism(1, 2), **changes})
    assert found == [f"spec.{field}" for field in fields]


def test_an_algorithm_that_one_worker_trains_alone_is_refused() -> None:
    found = faults("mlp", "decision_tree", parallelism=Parallelism(1, 2))
    assert found == ["spec.candidates[1].algorithm"]
