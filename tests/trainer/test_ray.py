"""Jobs on a Ray cluster: the same as on this machine, whatever is killed."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from services.trainer.core.parallelism import Parallelism
from services.trainer.core.spec import Candidate
from tests.support.ray_cluster import driver_of, ray_cluster
from tests.support.trainer_api import running_trainer, state_name
from tests.trainer.test_kill import LONG, one_ready_version

pytestmark = [pytest.mark.real, pytest.mark.timeout(900)]

SHARED = (Candidate("mlp", {"epochs": 20, "hidden_units": 8, "batch_rows": 64}),)

PATIENCE_S = 240.0
"""A node comes up in ten seconds and a worker in five, on cores that have nothing else to do."""


async def test_a_job_on_ray_survives_driver_and_node_and_ends_as_on_this_machine(
    tmp_path: Path,
) -> None:
    with ray_cluster() as cluster:
        async with running_trainer(tmp_path / "ray", **cluster.settings) as caller:
            name = await caller.submit("whole", candidates=LONG)
            # Until the cluster is there the job waits, and no attempt is spent.
            await asyncio.to_thread(cluster.start)
            await caller.until_points(name, 8, within_s=PATIENCE_S)
            assert len((await caller.get(name)).attempts) == 1
            (driver,) = driver_of(os.getpid())
            driver.kill()
            await caller.until_points(name, 30, within_s=PATIENCE_S)
            assert cluster.workers(), "it ran elsewhere"
            cluster.replace_node()
            job = await caller.until_over(name, within_s=PATIENCE_S)
            assert state_name(job) == "SUCCEEDED", job.error
            lost = [attempt.error.message.partition(": ")[2] for attempt in job.attempts[:-1]]
            assert [cause.partition(":")[0] for cause in lost] == [
                "its Ray driver is gone",
                "Ray lost it",
            ]
            await one_ready_version(caller, name)
            points = await caller.points(name)
    async with running_trainer(tmp_path / "local") as caller:
        whole = await caller.until_over(await caller.submit("whole", candidates=LONG))
        assert await caller.points(whole.name) == points


async def test_a_job_on_two_nodes_goes_on_when_the_helpers_node_is_lost(tmp_path: Path) -> None:
    asked = {"candidates": SHARED, "parallelism": Parallelism(2, 2)}
    with ray_cluster() as cluster:
        await asyncio.to_thread(cluster.start)
        await asyncio.to_thread(cluster.add_node)
        async with running_trainer(tmp_path / "ray", **cluster.settings) as caller:
            name = await caller.submit("shared", **asked)
            await caller.until_points(name, 5, within_s=PATIENCE_S)
            (helper,) = cluster.helpers()
            cluster.replace_node_of(helper)
            job = await caller.until_over(name, within_s=PATIENCE_S)
            assert state_name(job) == "SUCCEEDED", job.error
            assert len(job.attempts) == 1
            there = [value for _, _, _, value in await caller.points(name, "workers")]
            assert 1.0 in there
            assert there[0] == there[-1] == 2.0
            points = await caller.points(name)
    async with running_trainer(tmp_path / "local") as caller:
        asked["parallelism"] = Parallelism(1, 1)
        whole = await caller.until_over(await caller.submit("whole", **asked))
        assert await caller.points(whole.name) == points
