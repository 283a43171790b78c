"""What attempts are charged, and that budgets hold whatever happens."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from services.common.errors import ServiceError
from services.common.money import Money
from services.trainer.core.errors import AttemptSuperseded, BudgetExceeded
from services.trainer.core.failures import ErrorClass
from services.trainer.core.jobs import TrainingJob
from services.trainer.core.money import money_from_json, money_to_json
from services.trainer.core.states import JobState
from services.trainer.core.use_cases import attempts, submission, supervision
from services.trainer.core.use_cases.attempts import Claim, Order
from services.trainer.core.use_cases.spending import USUAL_TRIAL_S
from services.trainer.core.use_cases.submission import NewJob
from tests.support.trainer_jobs import AWAY, RESULT, RULES, claimed, through_all_stages
from tests.support.trainer_memory import MemoryTrainerTx
from tests.support.trainer_values import EPOCH, JOB, MODEL, TERMS, spec

RATE = 100
PROJECT = "projects/default"
SECOND = timedelta(seconds=1)


def submitted(
    tx: MemoryTrainerTx, budget: int | None = None, name: str = JOB, attempts: int = 20
) -> TrainingJob:
    new = NewJob(name, {}, spec(max_attempts=attempts), "", owner="ann", budget_micros=budget)
    return submission.submit(tx, new, RULES, TERMS)


def job(tx: MemoryTrainerTx, name: str = JOB) -> TrainingJob:
    return submission.existing(tx, name)


def total(tx: MemoryTrainerTx) -> int:
    return sum(charge.amount_micros for charge in tx.ledger.values())


@given(st.integers(0, 10**15))
def test_json_keeps_an_amount_to_the_millionth(micros: int) -> None:
    money = Money(micros, "EUR")
    assert money_from_json(money_to_json(money)) == money


@pytest.mark.parametrize("nanos", [1, 999, -1000])
def test_an_amount_that_is_negative_or_too_fine_is_refused(nanos: int) -> None:
    with pytest.raises(ValueError, match="whole millionths"):
        money_from_json({"currency_code": "USD", "nanos": nanos})


def test_every_second_that_has_begun_is_charged_once() -> None:
    tx = MemoryTrainerTx()
    submitted(tx)
    claim = claimed(tx)
    assert total(tx) == RATE
    for _ in range(3):
        tx.now = EPOCH + 2.5 * SECOND
        attempts.heartbeat(tx, claim, TERMS)
    assert total(tx) == 3 * RATE
    tx.now = EPOCH + 3 * SECOND
    through_all_stages(tx, claim)
    attempts.finish(tx, claim, RESULT)
    attempts.finish(tx, claim, RESULT)
    assert total(tx) == job(tx).cost_micros == 4 * RATE


def test_a_minute_is_one_entry_and_months_are_kept_apart() -> None:
    tx = MemoryTrainerTx(now=datetime(2026, 11, 30, 23, 58, 30, tzinfo=EPOCH.tzinfo))
    submitted(tx)
    start, claim = tx.now, claimed(tx)
    for second in range(0, 130, 5):
        tx.now = start + second * SECOND
        attempts.heartbeat(tx, claim, TERMS)
    assert [charge.seconds for charge in tx.ledger.values()] == [60, 60, 6]
    assert tx.spent(PROJECT, "ann", "2026-11") == 120 * RATE
    assert tx.spent(PROJECT, "ann", "2026-12") == 6 * RATE


def test_a_worker_that_is_lost_is_charged_up_to_its_grant() -> None:
    tx = MemoryTrainerTx()
    submitted(tx)
    claimed(tx)
    tx.now += timedelta(hours=1)
    supervision.lose(tx, JOB, "w1", "silent")
    assert total(tx) == (1 + TERMS.window_s) * RATE


def test_an_estimate_follows_what_the_models_jobs_have_taken() -> None:
    tx = MemoryTrainerTx()
    assert submitted(tx).estimate_micros == USUAL_TRIAL_S * RATE
    claim = claimed(tx)
    through_all_stages(tx, claim)
    tx.now += 4 * SECOND
    attempts.finish(tx, claim, RESULT)
    assert tx.durations_of(MODEL, 9) == [5]
    assert submitted(tx, name=JOB + "-2").estimate_micros == 5 * RATE


def run_until_stopped(tx: MemoryTrainerTx, claim: Claim, step: timedelta = SECOND) -> list[Order]:
    """The orders that a worker hears until it is superseded or told to stop."""
    orders = []
    with suppress(AttemptSuperseded):
        while not orders or orders[-1] is not Order.CANCEL:
            tx.now += step
            orders.append(attempts.heartbeat(tx, claim, TERMS).order)
    return orders


def test_a_job_is_told_to_stop_before_its_budget_is_spent_and_stops_when_it_is() -> None:
    tx = MemoryTrainerTx()
    submitted(tx, budget=30 * RATE)
    orders = run_until_stopped(tx, claimed(tx))
    assert orders == [Order.GO_ON] * 24 + [Order.PAUSE] * 4 + [Order.CANCEL]
    stopped = job(tx)
    assert stopped.state is JobState.BUDGET_EXCEEDED
    assert stopped.error is not None
    assert stopped.error.error_class is ErrorClass.BUDGET_EXCEEDED
    assert total(tx) == 30 * RATE


def test_a_job_that_stops_in_time_can_be_resumed_after_a_raise_only() -> None:
    tx = MemoryTrainerTx()
    submitted(tx, budget=4 * RATE)
    claim = claimed(tx)
    assert attempts.heartbeat(tx, claim, TERMS).order is Order.PAUSE
    attempts.stop(tx, claim)
    assert job(tx).state is JobState.BUDGET_EXCEEDED
    submission.set_budget(tx, JOB, job(tx).cost_micros, "")
    with pytest.raises(BudgetExceeded):
        submission.resume(tx, JOB, "", TERMS)
    submission.set_budget(tx, JOB, 99 * RATE, "")
    assert submission.resume(tx, JOB, "", TERMS).error is None
    assert attempts.heartbeat(tx, claimed(tx, "w2"), TERMS).order is Order.GO_ON


def test_a_raise_takes_back_the_order_to_stop() -> None:
    tx = MemoryTrainerTx()
    submitted(tx, budget=4 * RATE)
    claim = claimed(tx)
    assert attempts.heartbeat(tx, claim, TERMS).order is Order.PAUSE
    submission.set_budget(tx, JOB, None, "")
    assert attempts.heartbeat(tx, claim, TERMS).order is Order.GO_ON


def test_an_attempt_that_nobody_hears_of_again_costs_no_more_than_its_budget() -> None:
    tx = MemoryTrainerTx()
    submitted(tx, budget=3 * RATE)
    claimed(tx)
    tx.now = EPOCH + 60 * SECOND
    supervision.lose(tx, JOB, job(tx).attempts[-1].worker, "silence")
    assert total(tx) == 3 * RATE


def test_a_retry_storm_ends_with_its_budget() -> None:
    tx = MemoryTrainerTx()
    submitted(tx, budget=5 * RATE)
    for number in range(20):
        assignment = attempts.claim(tx, JOB, f"w{number}", TERMS)
        if assignment is None:
            break
        attempts.fail(tx, assignment.claim, AWAY)
        tx.now = max(tx.now, job(tx).ready_time)
    assert job(tx).state is JobState.BUDGET_EXCEEDED
    assert total(tx) == 5 * RATE


def test_a_running_jobs_reservation_keeps_others_of_its_owner_from_starting() -> None:
    tx = MemoryTrainerTx()
    estimate = submitted(tx).estimate_micros
    submitted(tx, name=JOB + "-2")
    tx.set_owner_budget(PROJECT, "ann", estimate + RATE)
    first = claimed(tx)
    assert attempts.claim(tx, JOB + "-2", "w2", TERMS) is None
    assert job(tx, JOB + "-2").state is JobState.BUDGET_EXCEEDED
    through_all_stages(tx, first)
    attempts.finish(tx, first, RESULT)
    submission.resume(tx, JOB + "-2", "", TERMS)
    assert attempts.claim(tx, JOB + "-2", "w3", TERMS) is not None


def test_a_new_month_has_a_new_budget() -> None:
    tx = MemoryTrainerTx()
    submitted(tx)
    tx.set_owner_budget(PROJECT, "ann", 40 * RATE)
    run_until_stopped(tx, claimed(tx))
    assert job(tx).state is JobState.BUDGET_EXCEEDED
    assert tx.spent(PROJECT, "ann", "2013-01") == 40 * RATE
    tx.now = datetime(2013, 2, 1, tzinfo=EPOCH.tzinfo)
    submission.resume(tx, JOB, "", TERMS)


class Books(RuleBasedStateMachine):
    """Two jobs of one owner, workers that die, a service that is away; and a second book."""

    def __init__(self) -> None:
        super().__init__()
        self.tx = MemoryTrainerTx()
        self.names = [f"{JOB}-{number}" for number in range(2)]
        for name in self.names:
            submitted(self.tx, budget=60 * RATE, name=name)
        self.tx.set_owner_budget(PROJECT, "ann", 90 * RATE)
        self.claims: dict[str, Claim] = {}
        self.works_until: dict[tuple[str, int], datetime] = {}
        self.started: dict[tuple[str, int], datetime] = {}
        self.ended: dict[tuple[str, int], datetime] = {}

    def _attempt(self, name: str) -> tuple[str, int]:
        return name, len(job(self.tx, name).attempts)

    def _grant(self, name: str, seconds: int) -> None:
        self.works_until[self._attempt(name)] = self.tx.now + seconds * SECOND

    def _close(self, name: str) -> None:
        key = self._attempt(name)
        self.ended.setdefault(key, min(self.tx.now, self.works_until[key]))

    @rule(index=st.integers(0, 1), worker=st.integers(0, 99))
    def starts(self, index: int, worker: int) -> None:
        name = self.names[index]
        if job(self.tx, name).state in (JobState.PAUSED, JobState.BUDGET_EXCEEDED):
            with suppress(ServiceError):
                submission.resume(self.tx, name, "", TERMS)
        with suppress(ServiceError):
            if job(self.tx, name).running_attempt is None:
                given = attempts.claim(self.tx, name, f"w{worker}", TERMS)
                if given is not None:
                    self.claims[name] = given.claim
                    self.started[self._attempt(name)] = self.tx.now
                    self._grant(name, given.granted_s)

    @rule(millis=st.integers(0, 9000), silent=st.booleans())
    def time_passes(self, millis: int, silent: bool) -> None:
        self.tx.now += timedelta(milliseconds=millis)
        for name, claim in self.claims.items():
            key = self._attempt(name)
            running = job(self.tx, name).running_attempt is not None
            if running and not silent and self.tx.now < self.works_until[key]:
                heard = attempts.heartbeat(self.tx, claim, TERMS)
                if heard.order is Order.CANCEL:
                    self._close(name)
                else:
                    self._grant(name, heard.granted_s)

    @rule(index=st.integers(0, 1), how=st.sampled_from(["lose", "fail", "stop", "cancel"]))
    def ends(self, index: int, how: str) -> None:
        name = self.names[index]
        running = job(self.tx, name).running_attempt
        if running is None:
            return
        alive = self.tx.now < self.works_until[self._attempt(name)]
        ways: dict[str, Callable[[], object]] = {
            "lose": lambda: supervision.lose(self.tx, name, running.worker, "killed"),
            "fail": lambda: attempts.fail(self.tx, self.claims[name], AWAY),
            "stop": lambda: attempts.stop(self.tx, self.claims[name]),
            "cancel": lambda: submission.pause(self.tx, name, ""),
        }
        if how == "lose" or alive:
            ways[how]()
        if job(self.tx, name).running_attempt is None:
            self._close(name)

    @invariant()
    def the_books_agree_to_the_millionth(self) -> None:
        for key, end in self.ended.items():
            name, number = key
            begun = (end - self.started[key]) // SECOND + 1
            # A grant is whole seconds from a second that has begun: the last may be cut short.
            charged = job(self.tx, name).attempts[number - 1].charged_s
            assert (
                charged in (begun, begun - 1) if end == self.works_until[key] else charged == begun
            )
        for name in self.names:
            mine = [x.amount_micros for x in self.tx.ledger.values() if x.job == name]
            assert sum(mine) == job(self.tx, name).cost_micros

    @invariant()
    def no_budget_is_overspent(self) -> None:
        for name in self.names:
            assert job(self.tx, name).cost_micros <= 60 * RATE
        assert self.tx.spent(PROJECT, "ann", "2013-01") <= 90 * RATE


TestBooks = Books.TestCase
TestBooks.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


def test_prices_change_what_is_charged_from_the_next_attempt_on() -> None:
    tx = MemoryTrainerTx()
    submitted(tx)
    attempts.stop(tx, claimed(tx))
    dearer = replace(TERMS, prices=replace(TERMS.prices, version="next", cpu_core_micros=250))
    attempts.claim(tx, JOB, "w2", dearer)
    assert [(x.price_version, x.amount_micros) for x in tx.ledger.values()] == [
        ("test", 100),
        ("next", 250),
    ]
