from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.common.errors import InvalidRequest
from services.registry.core.canonical import digest_of_bytes
from services.registry.core.errors import SecondTouch, SelectionOnTestSet
from services.registry.core.evaluations import Purpose
from services.registry.core.use_cases import datasets
from services.registry.core.versions import Ancestry, ModelVersion
from tests.support.registry_memory import MemoryRegistryTx
from tests.support.registry_values import (
    DATASET,
    JOB,
    NO_RULES,
    evaluated,
    ready_version,
    sealed_snapshot,
    snapshot_file,
)

OTHER_JOB = "projects/default/trainingJobs/second"


def descendant(
    tx: MemoryRegistryTx, parent: str, job: str = "", content: bytes = b"next"
) -> ModelVersion:
    return ready_version(tx, content, Ancestry((), job, parent))


def test_a_version_is_tested_once_on_the_same_rows_and_again_on_others() -> None:
    tx = MemoryRegistryTx()
    version = ready_version(tx)
    first = evaluated(tx, version)
    with pytest.raises(SecondTouch) as refused:
        evaluated(tx, version)
    assert refused.value.metadata["earlier_evaluation"] == first.meta.name
    evaluated(tx, version, split_digest=digest_of_bytes(b"others"))
    assert tx.touches[0].evaluation == first.meta.name
    assert len(tx.touches) == 2


@pytest.mark.parametrize("tested_first", ["ancestor", "descendant"])
def test_a_lineage_is_tested_once_whichever_end_comes_first(tested_first: str) -> None:
    tx = MemoryRegistryTx()
    grandparent = ready_version(tx)
    parent = descendant(tx, grandparent.meta.name)
    child = descendant(tx, parent.meta.name)
    order = [grandparent, child] if tested_first == "ancestor" else [child, grandparent]
    evaluated(tx, order[0])
    with pytest.raises(SecondTouch):
        evaluated(tx, order[1])


def test_two_versions_of_one_job_are_one_lineage_and_of_two_jobs_are_two() -> None:
    tx = MemoryRegistryTx()
    evaluated(tx, ready_version(tx, b"a", Ancestry((), JOB, "")))
    with pytest.raises(SecondTouch):
        evaluated(tx, ready_version(tx, b"b", Ancestry((), JOB, "")))
    evaluated(tx, ready_version(tx, b"c", Ancestry((), OTHER_JOB, "")))


def test_siblings_of_one_parent_are_tested_each_on_the_same_rows() -> None:
    tx = MemoryRegistryTx()
    parent = ready_version(tx)
    evaluated(tx, descendant(tx, parent.meta.name, JOB, b"a"))
    evaluated(tx, descendant(tx, parent.meta.name, OTHER_JOB, b"b"))


def test_a_champion_scored_as_baseline_is_recorded_and_forbids_nothing_to_its_heirs() -> None:
    tx = MemoryRegistryTx()
    champion = ready_version(tx)
    evaluated(tx, descendant(tx, champion.meta.name, JOB, b"a"))
    evaluated(tx, champion, purpose=Purpose.BASELINE)
    evaluated(tx, descendant(tx, champion.meta.name, OTHER_JOB, b"b"))
    assert [touch.purpose for touch in tx.touches] == ["TEST", "BASELINE", "TEST"]


@pytest.mark.parametrize("purpose", [Purpose.BASELINE, Purpose.MONITORING])
def test_a_look_by_another_name_is_a_look(purpose: Purpose) -> None:
    tx = MemoryRegistryTx()
    version = ready_version(tx)
    evaluated(tx, version, purpose=purpose)
    with pytest.raises(SecondTouch):
        evaluated(tx, version)


@pytest.mark.parametrize("purpose", [Purpose.TEST, Purpose.BASELINE])
def test_nobody_selects_on_rows_that_were_tested_on(purpose: Purpose) -> None:
    tx = MemoryRegistryTx()
    evaluated(tx, ready_version(tx), purpose=purpose)
    with pytest.raises(SelectionOnTestSet):
        evaluated(tx, ready_version(tx, b"stranger"), purpose=Purpose.SELECTION)


def test_a_candidate_is_not_tested_on_the_rows_that_it_was_selected_on() -> None:
    tx = MemoryRegistryTx()
    version = ready_version(tx)
    evaluated(tx, version, purpose=Purpose.SELECTION)
    for kin in (version, descendant(tx, version.meta.name)):
        with pytest.raises(SelectionOnTestSet):
            evaluated(tx, kin)


def test_the_same_data_under_another_name_and_source_is_the_same_test_set() -> None:
    tx = MemoryRegistryTx()
    version = ready_version(tx)
    first = evaluated(tx, version)
    renamed = f"{DATASET}/snapshots/renamed"
    datasets.create_snapshot(
        tx, renamed, rules=NO_RULES, origin=datasets.Origin("elsewhere", ()), labels={}
    )
    datasets.add_file(tx, renamed, snapshot_file("z.parquet"), cleaned_at_revision=1)
    datasets.seal_snapshot(tx, renamed, (), etag="", reported_at_revision=2)
    with pytest.raises(SecondTouch) as refused:
        evaluated(tx, version, snapshot=renamed)
    assert refused.value.metadata["earlier_evaluation"] == first.meta.name
    other = f"{DATASET}/snapshots/other"
    sealed_snapshot(tx, other, b"other rows")
    evaluated(tx, version, snapshot=other)


def test_a_deleted_ancestor_is_still_kin() -> None:
    tx = MemoryRegistryTx()
    parent = ready_version(tx)
    evaluated(tx, parent)
    child = descendant(tx, parent.meta.name)
    tx.versions.remove(parent.meta.name)
    with pytest.raises(SecondTouch):
        evaluated(tx, child)


def test_a_standard_error_is_of_a_metric_that_was_measured() -> None:
    tx = MemoryRegistryTx()
    with pytest.raises(InvalidRequest) as refused:
        evaluated(tx, ready_version(tx), {"auc": 0.7}, standard_errors={"aux": 0.1})
    assert [fault.field for fault in refused.value.violations] == [
        "evaluation.standard_errors[aux]"
    ]


@settings(max_examples=60)
@given(
    st.lists(st.integers(0, 5), min_size=1, max_size=6),
    st.lists(st.tuples(st.integers(0, 5), st.sampled_from(Purpose)), max_size=12),
)
def test_no_lineage_ever_has_two_tests_nor_a_test_set_a_selection(
    parents: list[int], looks: list[tuple[int, Purpose]]
) -> None:
    """Version i stems from version parents[i], if that is an earlier one."""
    tx = MemoryRegistryTx()
    line = []
    for index, parent in enumerate(parents):
        name = line[parent].meta.name if parent < index else ""
        line.append(descendant(tx, name, content=str(index).encode()))
    ancestors: list[set[int]] = []
    for index, parent in enumerate(parents):
        ancestors.append({index} | (ancestors[parent] if parent < index else set()))
    seen: list[tuple[int, Purpose]] = []
    for index, purpose in looks:
        if index >= len(line):
            continue
        try:
            evaluated(tx, line[index], purpose=purpose)
        except (SecondTouch, SelectionOnTestSet):
            continue
        seen.append((index, purpose))
    tests = [index for index, purpose in seen if purpose is Purpose.TEST]
    for at, first in enumerate(tests):
        for second in tests[at + 1 :]:
            assert first not in ancestors[second]
            assert second not in ancestors[first]
    for at, (index, purpose) in enumerate(seen):
        if purpose is Purpose.SELECTION:
            before = [each for _, each in seen[:at]]
            assert Purpose.TEST not in before
            assert Purpose.BASELINE not in before
            later = [i for i, each in seen[at:] if each is Purpose.TEST]
            assert all(index not in ancestors[i] and i not in ancestors[index] for i in later)
    assert len(tx.touches) == len(seen)
