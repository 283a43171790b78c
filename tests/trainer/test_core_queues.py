"""Queues as resources, and what is taken in them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.common.errors import InvalidRequest
from services.common.etags import EtagMismatch
from services.common.resources import Meta, PageQuery
from services.common.store.listing import InvalidPageToken
from services.common.store.name_pages import page_by_name
from services.trainer.core.errors import QueueExists, QueueInUse, QueueNotFound, QueueTooSmall
from services.trainer.core.queues import HALF_LIFE, Amounts, Queue, Usage
from services.trainer.core.states import AttemptState, JobState
from services.trainer.core.use_cases import attempts, queues, submission
from services.trainer.core.use_cases.submission import NewJob
from tests.support.trainer_memory import MemoryTrainerTx
from tests.support.trainer_values import EPOCH, JOB, TERMS, spec

PROJECT = "projects/default"
BULK = f"{PROJECT}/queues/bulk"
DEFAULT = f"{PROJECT}/queues/default"
RULES: Any = {"decision_tree": {}}


def wanted(name: str = BULK, **said: Any) -> Queue:
    return Queue(Meta(name, "", 0, EPOCH, EPOCH), **said)


def submitted(tx: MemoryTrainerTx, queue: str, **asked: Any) -> None:
    submission.submit(tx, NewJob(JOB, {}, spec(**asked), "", queue=queue), RULES, TERMS)


def test_each_project_has_its_default_queue_which_can_be_changed_and_not_deleted() -> None:
    tx = MemoryTrainerTx()
    first = queues.the_queue(tx, DEFAULT)
    assert (first.weight, first.quota, first.is_untouched) == (1, Amounts(), True)
    with pytest.raises(QueueExists):
        queues.create_queue(tx, wanted(DEFAULT))
    with pytest.raises(EtagMismatch):
        queues.update_queue(tx, wanted(DEFAULT, weight=3), ["weight"], etag="stale")
    changed = queues.update_queue(
        tx, wanted(DEFAULT, weight=3, protected=True), ["weight"], etag=first.meta.etag
    )
    assert (changed.weight, changed.protected, changed.meta.uid) == (3, False, first.meta.uid)
    assert changed.meta.etag != first.meta.etag
    again = queues.update_queue(tx, wanted(DEFAULT, weight=4), ["weight"], etag="")
    assert queues.the_queue(tx, DEFAULT) == again
    with pytest.raises(InvalidRequest):
        queues.delete_queue(tx, DEFAULT, etag="")


def test_a_queue_is_made_once_and_goes_when_its_jobs_are_over() -> None:
    tx = MemoryTrainerTx()
    with pytest.raises(QueueNotFound):
        submitted(tx, "bulk")
    queues.create_queue(tx, wanted())
    with pytest.raises(QueueExists):
        queues.create_queue(tx, wanted())
    submitted(tx, "bulk")
    assert queues.standings(tx, TERMS.machine)[BULK].waiting_jobs == 1
    with pytest.raises(QueueInUse):
        queues.delete_queue(tx, BULK, etag="")
    submission.cancel(tx, JOB, "")
    queues.delete_queue(tx, BULK, etag="")
    with pytest.raises(QueueNotFound):
        queues.the_queue(tx, BULK)


@pytest.mark.parametrize(
    ("quota", "asked", "fits"),
    [
        (Amounts(threads=1), {"threads": 1}, True),
        (Amounts(threads=1), {"threads": 0}, False),
        (Amounts(memory_mib=4096), {"memory_mib": 4096}, True),
        (Amounts(memory_mib=4096), {}, False),
    ],
)
def test_a_job_that_could_never_run_in_its_queue_is_refused(
    quota: Amounts, asked: dict[str, int], fits: bool
) -> None:
    for limits in ({"quota": quota}, {"owner_quota": quota}):
        tx = MemoryTrainerTx()
        queues.create_queue(tx, wanted(**limits))
        if fits:
            submitted(tx, "bulk", **asked)
        else:
            with pytest.raises(QueueTooSmall):
                submitted(tx, "bulk", **asked)


def test_each_second_that_is_charged_counts_once_as_taken() -> None:
    tx = MemoryTrainerTx()
    queues.create_queue(tx, wanted())
    submitted(tx, "bulk", threads=1, memory_mib=4096)
    assignment = attempts.claim(tx, JOB, "w1", TERMS)
    assert assignment is not None
    for second in (3, 3, 5):
        tx.now = EPOCH + timedelta(seconds=second)
        attempts.heartbeat(tx, assignment.claim, TERMS)
    attempts.stop(tx, assignment.claim)
    job = submission.existing(tx, JOB)
    charged = job.attempts[-1].charged_s
    # Its one slot of one is more than its half of the threads and of the memory.
    assert (job.state, job.attempts[-1].share, charged) == (JobState.QUEUED, 1.0, 6)
    assert job.attempts[-1].state is AttemptState.STOPPED
    assert tx.usage(BULK, "nobody").seconds == pytest.approx(charged, rel=0.01)


@given(st.floats(0.01, 1.0), st.integers(1, 600))
def test_who_always_takes_one_share_is_seen_to_take_it(share: float, step_s: int) -> None:
    usage, now = Usage(0.0, EPOCH), EPOCH
    step = timedelta(seconds=step_s)
    while now < EPOCH + 8 * HALF_LIFE:
        now += step
        usage = usage.plus(share * step_s, now)
    assert usage.recent_share(now) == pytest.approx(share, rel=0.07)
    assert usage.recent_share(now + HALF_LIFE) == pytest.approx(usage.recent_share(now) / 2)


@given(st.sets(st.text("abc", min_size=1, max_size=3)), st.integers(1, 4))
def test_pages_by_name_hold_everything_once(names: set[str], size: int) -> None:
    known = {name: name.upper() for name in names}
    seen: list[str] = []
    token = ""
    while True:
        page = page_by_name(known, PageQuery(PROJECT, size, token))
        seen += page.items
        assert len(page.items) <= size
        token = page.next_page_token
        if not token:
            break
        with pytest.raises(InvalidPageToken):
            page_by_name(known, PageQuery("projects/other", size, token))
    assert seen == sorted(known.values())
    with pytest.raises(InvalidPageToken):
        page_by_name(known, PageQuery(PROJECT, size, "damaged"))
