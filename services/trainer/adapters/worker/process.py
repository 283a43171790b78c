"""The worker process: claims one job, runs one attempt at it, ends."""

from __future__ import annotations

import asyncio
import gc
import signal
import socket
import sys
import traceback
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from typing import Final

import structlog
from opentelemetry.trace import NonRecordingSpan
from opentelemetry.util.types import AttributeValue
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # ships no types

from services.common.blobs.opening import open_blob_store
from services.common.causality import caused_by
from services.common.rpc.client import connect
from services.common.rpc.remote import RemoteError
from services.common.rpc.tracing import adopt, parse_traceparent, tracer
from services.common.telemetry import configure_logs, traced
from services.trainer.adapters.recipes import load_recipes
from services.trainer.adapters.registry_client import RegistryClient
from services.trainer.adapters.worker.attempt import AttemptRun
from services.trainer.adapters.worker.config import WorkerConfig
from services.trainer.adapters.worker.contract import Work
from services.trainer.adapters.worker.gpus import hold_gpu
from services.trainer.adapters.worker.helped import HelpedCrew
from services.trainer.adapters.worker.lanes import Lanes, forked_lanes
from services.trainer.adapters.worker.limits import (
    limit_memory,
    outlive_interrupts,
    yield_to_services,
)
from services.trainer.adapters.worker.link import TrainerLink
from services.trainer.adapters.worker.observing import StopTraining
from services.trainer.adapters.worker.programs import compiled_programs
from services.trainer.adapters.worker.reproducing import ReproductionRun
from services.trainer.core.failures import InternalFailure, OutOfMemory, TrainingFailure

log = structlog.get_logger()

NAME: Final = "trainer-worker"
SWITCH_INTERVAL_S: Final = 0.001
"""A thread that trains may keep the interpreter from the others for so much of its CPU time.

On a full machine it gets a core for a small part of the time, and they wait for as much longer.
"""


def run_attempt(config: WorkerConfig, listener: socket.socket | None) -> None:
    """Claim the job and run one attempt at it; ends once the trainer has heard its outcome.

    Args:
        config: What it needs to know.
        listener: Where helpers come; None without any.
    """
    outlive_interrupts()
    # The learning libraries stay. To look through them takes half a second of CPU time in which no
    # other thread goes on; of a full machine's time so much that the claim would run out.
    gc.freeze()
    configure_logs(NAME, config.log_level)
    limit_memory(config.memory_mib)
    if config.gpus is not None:
        hold_gpu(config.gpus)
    with compiled_programs(config.worker) if config.compiles else nullcontext():
        # Before any thread: a fork of a process with threads may wait for ever for their locks.
        lanes = forked_lanes(config.lanes)
        crew = _crew(config, listener)
        try:
            with traced(NAME, config.traces):
                asyncio.run(_work(config, lanes, crew))
        finally:
            lanes.close()
            if crew is not None:
                crew.close()


def _crew(config: WorkerConfig, listener: socket.socket | None) -> HelpedCrew | None:
    if config.parallelism is None:
        return None
    return HelpedCrew(config.parallelism, listener, config.helper_key)


async def _work(config: WorkerConfig, lanes: Lanes, crew: HelpedCrew | None) -> None:
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    asyncio.get_running_loop().set_default_executor(
        ThreadPoolExecutor(thread_name_prefix="training", initializer=yield_to_services)
    )
    async with connect(config.trainer_address) as trainer:
        try:
            work = await TrainerLink.claim(trainer, config.job, config.worker)
        except RemoteError as error:
            log.warning("worker.no_claim", job=config.job, reason=error.reason)
            return
        parent = parse_traceparent(work.traceparent)
        if parent is not None:
            adopt(NonRecordingSpan(parent))
        names: dict[str, AttributeValue] = {
            "roundhouse.job": work.job,
            "roundhouse.attempt": work.attempt,
        }
        with (
            caused_by(work.correlation_id, work.causation_id),
            tracer().start_as_current_span("trainer.attempt", attributes=names),
        ):
            await _attempt(config, work, TrainerLink(trainer, work), lanes, crew)


async def _attempt(
    config: WorkerConfig, work: Work, link: TrainerLink, lanes: Lanes, crew: HelpedCrew | None
) -> None:
    # A machine that is taken away says so; what the worker has by its next checkpoint is kept.
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, link.preempt)
    log.info("attempt.started", job=work.job, attempt=work.attempt)
    beating = asyncio.ensure_future(link.keep_alive())
    reporting = asyncio.ensure_future(link.keep_reporting())
    try:
        async with (
            connect(config.registry_address) as channel,
            open_blob_store(config.blob_url, connection=config.s3) as blobs,
        ):
            registry = RegistryClient(channel, patience_s=config.registry_patience_s)
            kind = ReproductionRun if work.reproduces else AttemptRun
            run = kind(
                work,
                link,
                registry,
                blobs,
                recipes=load_recipes(),
                lanes=lanes,
                threads=config.cores,
                checkpoint_interval_s=config.checkpoint_interval_s,
                encoders=config.encoders,
                crew=crew,
            )
            with threadpool_limits(config.cores):
                await _outcome(run, link)
    finally:
        for task in (beating, reporting):
            task.cancel()
        await asyncio.gather(beating, reporting, return_exceptions=True)


async def _outcome(run: AttemptRun, link: TrainerLink) -> None:
    """Run, and have the trainer hear how it ended."""
    try:
        await run.run()
    except StopTraining:
        log.info("attempt.stopped")
        await link.stopped()
    except MemoryError:
        await link.failed(OutOfMemory("the worker ran out of memory"))
    except TrainingFailure as failure:
        log.warning("attempt.failed", error_class=failure.error_class.value, cause=str(failure))
        await link.failed(failure)
    except Exception as error:  # whatever it is, the job must hear of it
        log.exception("attempt.crashed")
        link.logged(traceback.format_exc())
        await link.failed(InternalFailure(f"{type(error).__name__}: {error}"))
