"""Rows in memory, SQLite and PostgreSQL answer alike."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from services.common.criteria import Criteria, Finding, Measure, Verdict
from services.common.resources import ConcurrentChange, Meta, PageQuery
from services.common.store.database import Database
from services.common.store.migrations import migrate
from services.inference.adapters.database.store import SqlStore
from services.inference.core.batches import InputFile, WrittenPart
from services.inference.core.endpoints import Runtime
from services.inference.core.errors import BatchJobExists, EndpointExists
from services.inference.core.policies import (
    ClassThreshold,
    CostedAction,
    CostRule,
    ThresholdRule,
)
from services.inference.core.rollouts import (
    Judgement,
    Phase,
    PhaseKind,
    ShadowPlan,
    State,
)
from services.inference.core.routing import WHOLE_BP, Variant
from services.inference.core.shadows import Shadow, Tally
from services.inference.core.use_cases import batches as batch_cases
from services.inference.core.use_cases import control
from services.inference.core.use_cases import endpoints as endpoint_cases
from services.inference.core.use_cases import policies as policy_cases
from services.inference.core.use_cases import rollouts as cases
from services.inference.core.use_cases.shadows import add_tally, get_shadow_report
from tests.support.batches import batch_job
from tests.support.inference_memory import MemoryInferenceTx, MemoryStore
from tests.support.serving import ENDPOINT, T0, endpoint, version_name

MIGRATIONS = (
    Path(__file__).resolve().parents[2] / "services" / "inference" / "adapters" / "migrations"
)
OLD = Variant(version_name(1), "sha256:" + "1" * 64, WHOLE_BP)
PARENT = "projects/default"
CRITERIA = Criteria(alpha=0.01, slow_after=timedelta(seconds=0.2), slices=("carrier", "origin"))
FINDING = Finding(
    measure=Measure.SLOW_SHARE,
    slice_feature="carrier",
    slice_value="UA",
    candidate_n=400,
    champion_n=7000,
    candidate_value=0.02,
    champion_value=0.01,
    effect=0.01,
    lower=-0.01,
    upper=None,
    tolerance=0.02,
    alpha=0.001,
    verdict=Verdict.INCONCLUSIVE,
    reason="neither",
)


@pytest.fixture(params=["memory", "sqlite", pytest.param("postgres", marks=pytest.mark.real)])
async def store(request):
    """Every backend in turn; the memory one is the model."""
    if request.param == "memory":
        yield MemoryStore(MemoryInferenceTx())
        return
    database = Database(request.getfixturevalue(f"{request.param}_url"))
    await migrate(database, MIGRATIONS)
    yield SqlStore(database)
    database.close()


def new_rollout(rollout_id: str = "r") -> cases.NewRollout:
    return cases.NewRollout(
        Meta(f"{ENDPOINT}/rollouts/{rollout_id}", "2" * 8, 1, T0, T0, {"episode": "7"}),
        ENDPOINT,
        version_name(2),
        "sha256:" + "2" * 64,
        f"{version_name(2)}/approvals/a",
        (Phase(500, 10, criteria=CRITERIA), Phase(WHOLE_BP)),
        "episode",
        "",
    )


async def test_an_endpoint_comes_back_as_it_was_stored(store):
    kept = endpoint([OLD], runtime=Runtime.TRITON, alias="champion", logs_observations=False)
    await store.write(lambda tx: endpoint_cases.create_endpoint(tx, kept))
    assert await store.read(lambda tx: tx.endpoints.get(ENDPOINT)) == kept
    assert await store.read(lambda tx: tx.endpoint_with_id("delays")) == kept
    assert list(await store.read(lambda tx: tx.all_endpoints())) == [kept]


async def test_batch_jobs_come_back_in_turn_and_as_they_were_stored(store):
    source = InputFile("a.parquet", "sha256:" + "a" * 64, 100, 15)
    first = batch_job(source, max_rows_per_s=7)
    second = batch_job(source, name=f"{PARENT}/batchPredictionJobs/second")
    part = WrittenPart("part-00000.parquet", "sha256:" + "b" * 64, 50, 10, source.path, 0)
    for job in (first, second):
        await store.write(lambda tx, job=job: batch_cases.create_job(tx, job))
    await store.write(lambda tx: batch_cases.begin(tx, first.meta.name, "file:///out", T0))
    kept = await store.write(lambda tx: batch_cases.add_part(tx, first.meta.name, part, 0.25, T0))
    assert kept.written == (part,)
    assert list(await store.read(lambda tx: tx.unfinished_batch_jobs())) == [kept, second]
    await store.write(lambda tx: batch_cases.cancel_job(tx, first.meta.name, "", T0))
    await store.write(lambda tx: batch_cases.end_removed(tx, first.meta.name, T0))
    assert list(await store.read(lambda tx: tx.unfinished_batch_jobs())) == [second]
    page = await store.read(lambda tx: tx.page_batch_jobs(PageQuery(PARENT, 10, "")))
    assert [job.meta.name for job in page.items] == [second.meta.name, first.meta.name]
    with pytest.raises(BatchJobExists):
        await store.write(lambda tx: batch_cases.create_job(tx, first))


async def test_an_id_is_taken_in_every_project(store):
    await store.write(lambda tx: endpoint_cases.create_endpoint(tx, endpoint([OLD])))
    other = endpoint([OLD], meta=Meta("projects/other/endpoints/delays", "3" * 8, 1, T0, T0))
    with pytest.raises(EndpointExists):
        await store.write(lambda tx: endpoint_cases.create_endpoint(tx, other))


async def test_a_rollout_comes_back_after_each_step_as_it_was_stored(store):
    await store.write(lambda tx: endpoint_cases.create_endpoint(tx, endpoint([OLD])))
    name = f"{ENDPOINT}/rollouts/r"
    passed = Judgement(Verdict.PASS, "good", {"p_value": 0.25}, (FINDING,))
    steps = [
        lambda tx: cases.create_rollout(tx, new_rollout()),
        lambda tx: control.prepare(tx, name, T0),
        lambda tx: control.start(tx, name, T0),
        lambda tx: cases.pause_rollout(tx, name, "", T0),
        lambda tx: cases.resume_rollout(tx, name, "", T0),
        lambda tx: control.judge_phase(tx, name, 0, passed, T0),
        lambda tx: control.judge_phase(tx, name, 1, passed, T0),
        lambda tx: control.promote(tx, name, "", T0),
    ]
    states = []
    for step in steps:

        def work(tx, step=step):
            step(tx)
            return tx.rollouts.get(name)

        written = await store.write(work)
        assert await store.read(lambda tx: tx.rollouts.get(name)) == written
        states.append(written.state)
    assert states[-1] is State.SUCCEEDED
    assert written.outcomes[0].numbers == {"p_value": 0.25}
    assert written.outcomes[0].findings == (FINDING,)
    assert written.phases == new_rollout().phases
    assert await store.read(lambda tx: list(tx.active_rollouts())) == []
    held = await store.read(lambda tx: tx.endpoints.get(ENDPOINT))
    assert held.stable.version == version_name(2)


async def test_a_write_from_a_stale_copy_is_refused(store):
    await store.write(lambda tx: endpoint_cases.create_endpoint(tx, endpoint([OLD])))
    stale = await store.read(lambda tx: tx.endpoints.get(ENDPOINT))
    changes = endpoint_cases.EndpointChanges(labels={"team": "ops"})
    await store.write(lambda tx: endpoint_cases.update_endpoint(tx, ENDPOINT, changes, "", T0))
    with pytest.raises(ConcurrentChange):
        await store.write(lambda tx: tx.endpoints.replace(stale.without_candidate("", T0)))


async def test_deleting_an_endpoint_takes_its_rollouts_along(store):
    await store.write(lambda tx: endpoint_cases.create_endpoint(tx, endpoint([OLD])))
    await store.write(lambda tx: cases.create_rollout(tx, new_rollout()))
    await store.write(lambda tx: cases.cancel_rollout(tx, f"{ENDPOINT}/rollouts/r", "", "", T0))
    await store.write(lambda tx: endpoint_cases.delete_endpoint(tx, ENDPOINT, "", T0))
    query = PageQuery(ENDPOINT, 0, "")
    assert (await store.read(lambda tx: tx.page_rollouts(query))).items == ()
    assert await store.read(lambda tx: tx.endpoints.get(ENDPOINT)) is None


async def test_lists_give_what_is_under_the_parent(store):
    await store.write(lambda tx: endpoint_cases.create_endpoint(tx, endpoint([OLD])))
    await store.write(lambda tx: cases.create_rollout(tx, new_rollout()))
    here = await store.read(lambda tx: tx.page_endpoints(PageQuery(PARENT, 10, "")))
    elsewhere = await store.read(lambda tx: tx.page_endpoints(PageQuery("projects/x", 10, "")))
    assert [each.name for each in here.items] == [ENDPOINT]
    assert elsewhere.items == ()
    rollouts = await store.read(lambda tx: tx.page_rollouts(PageQuery(ENDPOINT, 10, "")))
    assert [each.name for each in rollouts.items] == [f"{ENDPOINT}/rollouts/r"]


async def test_policy_versions_and_moves_come_back_as_they_were_stored(store):
    thresholds = ThresholdRule((ClassThreshold(0, 0.75, "none"), ClassThreshold(1, 0.25, "act")))
    costs = CostRule((CostedAction("a", (0.0, 2.0)), CostedAction("b", (1.0, 0.0), 1)))
    parent = "projects/default/policies/delays"
    made = [
        await store.write(
            lambda tx, rule=rule: policy_cases.create_policy_version(
                tx, policy_cases.NewPolicyVersion(parent, "4" * 8, "ada", "why", rule), T0
            )
        )
        for rule in (thresholds, costs)
    ]
    await store.write(lambda tx: endpoint_cases.create_endpoint(tx, endpoint([OLD])))
    pointing = policy_cases.Pointing(made[1].name, "bob", "trial")
    pointed = await store.write(
        lambda tx: policy_cases.point_endpoint(
            tx, endpoint_cases.get_endpoint(tx, ENDPOINT), pointing, T0
        )
    )
    assert await store.read(lambda tx: tx.endpoints.get(ENDPOINT)) == pointed
    assert pointed.decider.name == made[1].name
    for query in (PageQuery(parent, 0, ""), PageQuery("projects/default/policies/-", 0, "")):
        page = await store.read(lambda tx, query=query: tx.page_policy_versions(query))
        assert page.items == (made[1], made[0])
    other = PageQuery("projects/other/policies/-", 0, "")
    assert (await store.read(lambda tx: tx.page_policy_versions(other))).items == ()
    moves = await store.read(lambda tx: tx.page_policy_moves(PageQuery(ENDPOINT, 0, "")))
    assert [each.after for each in moves.items] == [
        made[1].name,
        f"{ENDPOINT}/decisionPolicies/1",
    ]


async def test_a_shadow_report_counts_on_from_what_was_stored_and_goes_with_its_endpoint(store):
    await store.write(lambda tx: endpoint_cases.create_endpoint(tx, endpoint([OLD])))
    shadow = Phase(0, kind=PhaseKind.SHADOW, shadow=ShadowPlan(500, 10, 0.5))
    new = replace(new_rollout(), phases=(shadow, Phase(WHOLE_BP)))
    name = f"{ENDPOINT}/rollouts/r"
    await store.write(lambda tx: cases.create_rollout(tx, new))
    await store.write(lambda tx: control.prepare(tx, name, T0))
    await store.write(lambda tx: control.start(tx, name, T0))
    held = await store.read(lambda tx: tx.endpoints.get(ENDPOINT))
    assert held.shadow == Shadow(version_name(2), 500, f"{name}/shadows/0")
    assert (await store.read(lambda tx: tx.rollouts.get(name))).phases == new.phases
    tally = Tally(compared=2, agreed=1, shift_sum=0.25, champion_scores=(2, *[0] * 19))
    for _ in range(2):
        await store.write(lambda tx: add_tally(tx, held.shadow.report, tally, T0))
    kept = await store.read(lambda tx: get_shadow_report(tx, held.shadow.report))
    assert (kept.tally, kept.champion) == (tally + tally, OLD.version)
    await store.write(lambda tx: cases.cancel_rollout(tx, name, "", "", T0))
    await store.write(lambda tx: endpoint_cases.delete_endpoint(tx, ENDPOINT, "", T0))
    assert await store.read(lambda tx: tx.shadow_reports.get(kept.meta.name)) is None
