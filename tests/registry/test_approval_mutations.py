from __future__ import annotations

from pathlib import Path

from tests.support.approval_mutations import ACCEPTED, POSSIBLE, Change, Door, prove_cases


def test_every_mutation_of_an_approval_is_refused_with_its_own_reason(tmp_path: Path) -> None:
    answered = prove_cases(tmp_path, examples=60)
    assert answered[("0 changes", ACCEPTED)]
    assert all(reason for label, reason in answered if label != "0 changes")
    assert sum(answered.values()) >= 60


def test_every_change_can_happen_at_some_door() -> None:
    assert set.union(*POSSIBLE.values()) == set(Change)
    assert set(POSSIBLE) == set(Door)
