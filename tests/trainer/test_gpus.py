"""Which GPU a worker holds, and what becomes of jobs that ask for one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import grpc
import pytest
import torch

from services.trainer.adapters.nvidia import visible_gpus
from services.trainer.adapters.worker import gpus
from services.trainer.adapters.worker.config import GpuPool
from services.trainer.core.acceleration import Acceleration, Device, Precision
from services.trainer.core.spec import Candidate
from tests.support.processes import interpreter_environment
from tests.support.trainer_api import running_trainer, state_name

pytestmark = pytest.mark.real

GPU = Acceleration(Device.GPU)
NETWORK = (Candidate("mlp", {"epochs": 2, "hidden_units": 8}),)

HOLDER = """
import os, sys
from services.common.telemetry import configure_logs
from services.trainer.adapters.worker import gpus
from services.trainer.adapters.worker.config import GpuPool
configure_logs("holder", "error")
gpus.PATIENCE_S = float(sys.argv[2])
gpus.hold_gpu(GpuPool(("0", "GPU-5ac1"), sys.argv[1]))
child = os.fork()
if not child:
    sys.stdin.read()
    os._exit(0)
print(os.environ["CUDA_VISIBLE_DEVICES"] or "none", flush=True)
sys.stdin.read()
"""


class Holder:
    """A process that holds a GPU, and has forked another."""

    def __init__(self, folder: Path, patience_s: float = 0.2) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", HOLDER, str(folder), str(patience_s)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=interpreter_environment(),
        )

    @property
    def held(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def let_go(self) -> None:
        self.process.communicate()


def test_each_worker_holds_another_gpu_until_its_last_process_has_ended(tmp_path: Path) -> None:
    first, second = Holder(tmp_path / "gpus"), Holder(tmp_path / "gpus")
    assert sorted((first.held, second.held)) == ["0", "GPU-5ac1"]
    third = Holder(tmp_path / "gpus")
    assert third.held == "none"
    first.process.kill()
    first.process.wait()
    # What it has forked lives on, and may use the GPU still.
    fourth = Holder(tmp_path / "gpus")
    assert fourth.held == "none"
    waits = Holder(tmp_path / "gpus", patience_s=30.0)
    first.let_go()
    assert waits.held in ("0", "GPU-5ac1")
    for each in (second, third, fourth, waits):
        each.let_go()


def test_a_worker_of_a_trainer_that_has_no_gpu_any_more_sees_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpus, "PATIENCE_S", 0.0)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", "")
    gpus.hold_gpu(GpuPool((), str(tmp_path)))
    assert os.environ["CUDA_VISIBLE_DEVICES"] == ""


async def test_a_trainer_without_gpus_says_so(tmp_path: Path) -> None:
    async with running_trainer(tmp_path, gpus="none") as caller:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await caller.submit("fast", candidates=NETWORK, acceleration=GPU)
        assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert "spec.acceleration.device" in str(refused.value.details())
        assert "this trainer has 0" in str(refused.value.details())


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
async def test_a_gpu_that_is_not_there_ends_the_attempt_with_a_reason(tmp_path: Path) -> None:
    async with running_trainer(tmp_path, gpus="0") as caller:
        name = await caller.submit(
            "fast", candidates=NETWORK, acceleration=GPU, max_attempts=1, threads=1
        )
        job = await caller.until_over(name)
        assert state_name(job) == "FAILED"
        assert job.error.error_class == job.error.ERROR_CLASS_NOT_ACCELERATED
        assert "CUDA" in job.error.message
        assert (tmp_path / "trainer" / "gpus" / "0.lock").exists()


async def test_a_job_in_bfloat16_goes_its_way_like_any_other(tmp_path: Path) -> None:
    async with running_trainer(tmp_path) as caller:
        mixed = Acceleration(precision=Precision.BFLOAT16_MIXED)
        name = await caller.submit("mixed", candidates=NETWORK, acceleration=mixed)
        job = await caller.until_over(name)
        assert state_name(job) == "SUCCEEDED", job.error
        plain = await caller.until_over(await caller.submit("plain", candidates=NETWORK))
        mine, theirs = await caller.points(name), await caller.points(plain.name)
        assert [each[:3] for each in mine] == [each[:3] for each in theirs]
        assert mine != theirs


def test_the_environment_says_which_gpus_there_are_else_the_driver(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1, GPU-5ac1")
    assert visible_gpus() == ("1", "GPU-5ac1")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert visible_gpus() == ()
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    driver = Path("/proc/driver/nvidia/gpus")
    assert len(visible_gpus()) == (len(list(driver.iterdir())) if driver.exists() else 0)
