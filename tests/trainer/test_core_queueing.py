"""Who gets a worker, and who makes room."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, TypeAlias

from hypothesis import given, settings
from hypothesis import strategies as st

from services.common.resources import Meta
from services.trainer.core.acceleration import Acceleration, Device
from services.trainer.core.jobs import Attempt, TrainingJob
from services.trainer.core.queueing import Capacity, Plan, Room, plan
from services.trainer.core.queues import Amounts, Queue, Usage, needed
from services.trainer.core.states import AttemptState, JobState
from tests.support.trainer_values import EPOCH, JOB, job, spec

SECOND = timedelta(seconds=1)
MACHINE = Amounts(4, 8, 8192, 2)
PROJECT = "projects/default"


def waiting(number: int, **changes: Any) -> TrainingJob:
    usual = {"name": f"{JOB}-{number}", "uid": str(number), "create_time": EPOCH + number * SECOND}
    return job(**{**usual, **changes})


def running(number: int, **changes: Any) -> TrainingJob:
    attempt = Attempt(1, f"w{number}", 1, AttemptState.RUNNING, EPOCH + number * SECOND)
    return waiting(number, **{"state": JobState.RUNNING, "attempts": (attempt,), **changes})


def capacity(free: int, per_owner: int = 0, **more: Any) -> Capacity:
    queues = {queue.meta.name: queue for queue in more.pop("queues", ())}
    room = Room(MACHINE, per_owner, more.pop("per_project", 0))
    return Capacity(free, room, queues=queues, **more)


def queue(queue_id: str, **said: Any) -> Queue:
    return Queue(Meta(f"{PROJECT}/queues/{queue_id}", "", 1, EPOCH, EPOCH), **said)


def numbers(jobs: tuple[TrainingJob, ...]) -> list[int]:
    return [int(each.uid) for each in jobs]


def test_higher_priority_goes_first_then_the_older() -> None:
    jobs = [waiting(1), waiting(2, priority=5), waiting(3, priority=5), waiting(4)]
    assert numbers(plan(jobs, capacity(3), EPOCH).start) == [2, 3, 1]


def test_a_job_waits_for_a_gpu_while_those_pass_that_need_none() -> None:
    on_gpu = spec(acceleration=Acceleration(Device.GPU))
    jobs = [running(1, spec=on_gpu), waiting(2, spec=on_gpu), waiting(3, spec=on_gpu), waiting(4)]
    assert numbers(plan(jobs, capacity(3), EPOCH).start) == [2, 4]
    # Also where a trainer has come back with fewer than are held.
    jobs = [*(running(n, spec=on_gpu) for n in range(3)), waiting(3, spec=on_gpu), waiting(4)]
    assert numbers(plan(jobs, capacity(3), EPOCH).start) == [4]


def test_owners_take_turns() -> None:
    jobs = [*(waiting(n, owner="ann") for n in range(3)), waiting(9, owner="bob")]
    assert numbers(plan(jobs, capacity(3), EPOCH).start) == [0, 9, 1]


def test_an_owner_at_its_quota_waits_also_with_workers_free_or_gives_up_a_lower_job() -> None:
    jobs = [running(1, owner="ann"), waiting(2, owner="ann"), waiting(3, owner="bob")]
    chosen = plan(jobs, capacity(2, per_owner=1), EPOCH)
    assert (numbers(chosen.start), chosen.preempt) == ([3], ())
    jobs[1] = waiting(2, owner="ann", priority=9)
    chosen = plan(jobs, capacity(2, per_owner=1), EPOCH)
    assert (numbers(chosen.start), numbers(chosen.preempt)) == ([3], [1])


def test_a_job_that_pauses_before_its_retry_is_not_started() -> None:
    assert plan([waiting(1, ready_time=EPOCH + SECOND)], capacity(1), EPOCH).start == ()


def test_the_lowest_and_youngest_makes_room_for_a_higher_one_and_nobody_for_an_equal() -> None:
    jobs = [running(1, priority=1), running(2), running(3), waiting(4, priority=1), waiting(5)]
    chosen = plan(jobs, capacity(0), EPOCH)
    assert (chosen.start, numbers(chosen.preempt)) == ((), [3])


def test_who_makes_room_already_is_not_joined_by_another() -> None:
    jobs = [running(1, preempt_requested=True), running(2), waiting(4, priority=1)]
    assert plan(jobs, capacity(0), EPOCH).preempt == ()


def test_of_a_frozen_project_none_but_critical_jobs_start_or_make_others_leave() -> None:
    elsewhere = {"name": "projects/other/trainingJobs/5"}
    jobs = [
        running(1),
        waiting(2, priority=9),
        waiting(3, critical=True),
        waiting(4, priority=5, critical=True),
        waiting(5, **elsewhere),
    ]
    frozen = {"projects/default"}
    assert numbers(plan(jobs, capacity(9, frozen=frozen), EPOCH).start) == [5, 4, 3]
    assert plan(jobs[:2], capacity(0, frozen=frozen), EPOCH).preempt == ()


def test_the_queue_that_takes_least_for_its_weight_goes_first_whatever_the_priority() -> None:
    jobs = [
        running(1, queue="bulk"),
        running(2, queue="bulk"),
        running(3),
        waiting(4, queue="bulk"),
        waiting(5, priority=100),
    ]
    weights = [queue("bulk", weight=3)]
    assert numbers(plan(jobs, capacity(1), EPOCH).start) == [5]
    assert numbers(plan(jobs, capacity(1, queues=weights), EPOCH).start) == [4]


def test_what_was_taken_of_late_counts_too() -> None:
    jobs = [waiting(1), waiting(2, queue="bulk")]
    recent = {(f"{PROJECT}/queues/default", "nobody"): 0.5}
    assert numbers(plan(jobs, capacity(1), EPOCH).start) == [1]
    assert numbers(plan(jobs, capacity(1, recent=recent), EPOCH).start) == [2]


def test_the_dominant_share_counts() -> None:
    large = spec(threads=8, memory_mib=1024)
    small = spec(threads=1, memory_mib=1024)
    jobs = [
        running(1, queue="large", spec=large),
        running(2, queue="small", spec=small),
        running(3, queue="small", spec=small),
        waiting(4, queue="large", spec=small),
        waiting(5, queue="small", spec=small),
    ]
    assert numbers(plan(jobs, capacity(1), EPOCH).start) == [5]


def test_who_would_break_a_quota_lets_others_pass() -> None:
    two = spec(threads=2, memory_mib=1024)
    jobs = [
        running(1, queue="bulk", spec=two, owner="ann"),
        waiting(2, queue="bulk", spec=two, owner="ann"),
        waiting(3, queue="bulk", spec=two, owner="bob"),
        waiting(4, queue="bulk", spec=two, owner="cat"),
        waiting(5),
    ]
    limits = [queue("bulk", quota=Amounts(threads=4), owner_quota=Amounts(jobs=1))]
    chosen = plan(jobs, capacity(3, queues=limits), EPOCH)
    assert (sorted(numbers(chosen.start)), chosen.preempt) == ([3, 5], ())
    assert numbers(plan(jobs, capacity(3, per_project=2), EPOCH).start) == [5]


def test_a_full_queue_s_lower_job_makes_room_also_with_workers_free() -> None:
    jobs = [running(1, queue="bulk"), waiting(2, queue="bulk", priority=1)]
    limits = [queue("bulk", quota=Amounts(jobs=1))]
    chosen = plan(jobs, capacity(2, queues=limits), EPOCH)
    assert (chosen.start, numbers(chosen.preempt)) == ((), [1])


def test_what_an_asked_job_still_takes_is_nobody_else_s() -> None:
    two = spec(threads=2, memory_mib=1024)
    one = spec(threads=1, memory_mib=1024)
    jobs = [
        running(1, queue="bulk", spec=two, preempt_requested=True),
        waiting(2, queue="bulk", spec=one, priority=2),
        waiting(3, queue="bulk", spec=one),
    ]
    limits = [queue("bulk", quota=Amounts(threads=2))]
    assert plan(jobs, capacity(2, queues=limits), EPOCH) == Plan((), ())


def test_nobody_makes_room_in_a_protected_queue_nor_in_one_that_has_no_more_than_its_share() -> (
    None
):
    jobs = [running(1, queue="bulk"), waiting(2, priority=9)]
    recent = {(f"{PROJECT}/queues/bulk", "nobody"): 0.1}
    assert plan(jobs, capacity(0), EPOCH).preempt == ()
    assert numbers(plan(jobs, capacity(0, recent=recent), EPOCH).preempt) == [1]
    protected = [queue("bulk", protected=True)]
    assert plan(jobs, capacity(0, recent=recent, queues=protected), EPOCH).preempt == ()


def test_a_job_whose_worker_has_not_claimed_it_takes_its_part() -> None:
    jobs = [waiting(1), waiting(2)]
    starting = {jobs[0].name}
    chosen = plan(jobs, capacity(1, per_owner=1, starting=starting), EPOCH)
    assert (chosen.start, chosen.preempt) == ((), ())


OWNERS, QUEUES = "abc", ("default", "bulk", "urgent")
QUOTAS = st.builds(
    Amounts, st.integers(0, 3), st.integers(0, 6), st.integers(0, 3).map((1024).__mul__)
)
GIVEN_QUEUES = st.tuples(
    *(
        st.builds(
            queue,
            st.just(each),
            weight=st.integers(1, 9),
            quota=QUOTAS,
            owner_quota=QUOTAS,
            protected=st.booleans(),
        )
        for each in QUEUES
    )
)
GivenJob: TypeAlias = tuple[str, int, str, str, int, int, Acceleration | None]
JOBS = st.lists(
    st.tuples(
        st.sampled_from(("waits", "runs", "leaves")),
        st.integers(0, 3),
        st.sampled_from(OWNERS),
        st.sampled_from(QUEUES),
        st.integers(1, 4),
        st.sampled_from((0, 1024, 2048)),
        st.sampled_from((None, None, Acceleration(Device.GPU))),
    ),
    max_size=12,
)


def made(
    given_jobs: list[GivenJob],
) -> list[TrainingJob]:
    return [
        (waiting if does == "waits" else running)(
            number,
            priority=priority,
            owner=owner,
            queue=in_queue,
            spec=spec(threads=threads, memory_mib=memory_mib, acceleration=faster),
            preempt_requested=does == "leaves",
        )
        for number, (does, priority, owner, in_queue, threads, memory_mib, faster) in enumerate(
            given_jobs
        )
    ]


def breaks(limits: Capacity, jobs: list[TrainingJob], job: TrainingJob) -> bool:
    """Whether a quota that holds for `job` is broken by `jobs` at a time."""
    whose = {
        ("", ""): [each for each in jobs if each.spec.gpus],
        (PROJECT, ""): jobs,
        (PROJECT, job.owner): [each for each in jobs if each.owner == job.owner],
        (job.queue_name, ""): (mine := [each for each in jobs if each.queue == job.queue]),
        (job.queue_name, job.owner): [each for each in mine if each.owner == job.owner],
    }
    return any(
        not sum((needed(each.spec, MACHINE) for each in whose[scope]), Amounts()).within(quota)
        for scope, quota in limits.quotas_of(job).items()
    )


@given(st.integers(0, 4), st.integers(0, 3), st.integers(0, 4), GIVEN_QUEUES, JOBS)
def test_no_plan_breaks_a_limit_or_leaves_a_worker_without_need(
    free: int,
    per_owner: int,
    per_project: int,
    queues: tuple[Queue, ...],
    given_jobs: list[GivenJob],
) -> None:
    jobs = made(given_jobs)
    limits = capacity(free, per_owner, per_project=per_project, queues=queues)
    chosen = plan(jobs, limits, EPOCH)
    running_now = [each for each in jobs if each.state.active]
    occupied = [*running_now, *chosen.start]
    assert len(chosen.start) <= free
    assert all(each.state is JobState.QUEUED for each in chosen.start)
    assert not any(breaks(limits, occupied, each) for each in chosen.start)
    left = [each for each in jobs if each.state is JobState.QUEUED and each not in chosen.start]
    for each in chosen.preempt:
        assert each.state.active
        assert not each.preempt_requested
        assert not limits.queue_of(each).protected
        assert any(each.priority < other.priority for other in left)
    if (
        len(chosen.start) < free
        and not chosen.preempt
        and "leaves" not in {x[0] for x in given_jobs}
    ):
        assert all(breaks(limits, [*occupied, each], each) for each in left)


@settings(max_examples=12)
@given(st.lists(st.integers(1, 4), min_size=2, max_size=3), st.integers(1, 2))
def test_queues_that_always_wait_share_the_workers_by_weight_whatever_their_priorities(
    weights: list[int], workers: int
) -> None:
    queues = [queue(QUEUES[n], weight=weight) for n, weight in enumerate(weights)]
    machine = Amounts(workers, 8, 8192)
    usages = {each.meta.name: Usage(0.0, EPOCH) for each in queues}
    starts = dict.fromkeys(usages, 0)
    now, minute = EPOCH, timedelta(minutes=1)
    for _ in range(120):
        jobs = [
            waiting(10 * n + k, queue=QUEUES[n], priority=100 * (n == 0), spec=spec(threads=1))
            for n in range(len(queues))
            for k in range(workers)
        ]
        limits = Capacity(
            workers,
            Room(machine),
            queues={each.meta.name: each for each in queues},
            recent={(name, "nobody"): usage.recent_share(now) for name, usage in usages.items()},
        )
        now += minute
        chosen = plan(jobs, limits, now)
        assert len(chosen.start) == workers
        for each in chosen.start:
            name = each.queue_name
            starts[name] += 1
            part = needed(each.spec, machine).share_of(machine)
            usages[name] = usages[name].plus(part * 60, now)
    for each in queues:
        fair = 120 * workers * each.weight / sum(weights)
        assert abs(starts[each.meta.name] - fair) <= 0.1 * fair + 3
