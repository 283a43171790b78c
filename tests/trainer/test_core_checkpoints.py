"""Which checkpoints are kept, and what becomes of those that can't be restored."""

from __future__ import annotations

from services.trainer.core.jobs import StoredCheckpoint
from services.trainer.core.use_cases import reports
from tests.support.trainer_memory import MemoryTrainerTx
from tests.trainer.test_core_jobs import claimed, submitted


def test_checkpoints_beyond_the_newest_and_the_best_are_superseded() -> None:
    tx = MemoryTrainerTx()
    job = submitted(tx)
    claim = claimed(tx)
    gone: list[int] = []
    for step, loss in enumerate((0.5, 0.2, 0.4, 0.3, 0.6, 0.7, 0.1), 1):
        stored = StoredCheckpoint("mlp-1", step, f"sha256:{step:064}", 10, tx.now, loss)
        for _ in range(2):
            gone += [each.step for each in reports.take_checkpoint(tx, claim, stored)]
    assert sorted(each.step for each in tx.checkpoints(job.uid)) == [5, 6, 7]
    assert gone == [1, 3, 4, 2]


def test_a_checkpoint_that_cannot_be_restored_is_forgotten_with_an_event() -> None:
    tx = MemoryTrainerTx()
    job = submitted(tx)
    claim = claimed(tx)
    stored = StoredCheckpoint("mlp-1", 1, f"sha256:{1:064}", 10, tx.now)
    reports.take_checkpoint(tx, claim, stored)
    for _ in range(2):
        reports.reject_checkpoint(tx, claim, stored, "is damaged")
    assert tx.checkpoints(job.uid) == ()
    told = [data for kind, _, data in tx.events if kind == "checkpoint.damaged"]
    assert told == [{"trial": "mlp-1", "step": 1, "digest": stored.digest, "cause": "is damaged"}]
