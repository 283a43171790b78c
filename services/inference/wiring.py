"""The only place that picks the inference service's adapters."""

from __future__ import annotations

import asyncio
import random
import socket
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final

import structlog
from prometheus_client import REGISTRY, CollectorRegistry
from roundhouse.inference.v1 import batch_service_pb2 as batches
from roundhouse.inference.v1 import batch_service_pb2_grpc as batches_grpc
from roundhouse.inference.v1 import endpoint_service_pb2 as endpoints
from roundhouse.inference.v1 import endpoint_service_pb2_grpc as endpoints_grpc
from roundhouse.inference.v1 import policy_service_pb2 as policies
from roundhouse.inference.v1 import policy_service_pb2_grpc as policies_grpc
from roundhouse.inference.v1 import rollout_service_pb2 as rollouts
from roundhouse.inference.v1 import rollout_service_pb2_grpc as rollouts_grpc

from services.common.blobs.opening import open_configured_blob_store
from services.common.clock import Clock, utc_now
from services.common.rpc.client import connect
from services.common.rpc.events import event_api
from services.common.rpc.pins import RegistryPins, Reliance
from services.common.rpc.server import Api, RunningServer, ServerLimits, serving
from services.common.settings import InvalidSettings, is_loopback
from services.common.store.database import Database
from services.common.store.leadership import lead
from services.common.store.leases import Lease
from services.common.store.migrations import migrate
from services.common.tasks import background_tasks
from services.inference.adapters.batch_files import ParquetBatchFiles
from services.inference.adapters.batching import BatchLimits
from services.inference.adapters.bundles import BundleFolder
from services.inference.adapters.database.store import SqlInferenceTx, SqlStore
from services.inference.adapters.happenings import OutboxHappenings
from services.inference.adapters.meters import PrometheusMeters
from services.inference.adapters.metrics import (
    ObservationMetrics,
    export_admission,
    mirror_counter,
)
from services.inference.adapters.monitor_client import MonitorClient
from services.inference.adapters.observation_log import SegmentLog
from services.inference.adapters.observation_sender import ObservationSender
from services.inference.adapters.onnx_runtime import OnnxRuntime
from services.inference.adapters.registry_client import RegistryClient
from services.inference.adapters.snapshot_client import SnapshotClient
from services.inference.adapters.triton.pool import ReplicaPool
from services.inference.adapters.triton.runtime import TritonRuntime
from services.inference.api.batch_servicer import BatchServicer
from services.inference.api.endpoint_servicer import EndpointServicer
from services.inference.api.oip.servicer import INFER_PATH, OipServicer, register
from services.inference.api.oip.servicer import SERVICE as OIP_SERVICE
from services.inference.api.policy_servicer import PolicyServicer
from services.inference.api.requests import Transactions
from services.inference.api.rollout_servicer import RolloutServicer
from services.inference.core.admission import Admission
from services.inference.core.batch_worker import RUN_ROWS, BatchWorker
from services.inference.core.controller import RolloutController
from services.inference.core.drilling import Driller
from services.inference.core.endpoints import Runtime
from services.inference.core.hosting import ModelHost
from services.inference.core.mirroring import Mirror, MirrorLimits, ShadowRecorder
from services.inference.core.ports import ModelRuntime, SignatureVerifier
from services.inference.core.reconciler import Reconciler
from services.inference.core.reliances import batch_inputs_needed, versions_needed
from services.inference.core.serving import Predictor
from services.inference.core.telling import DeploymentTeller
from services.inference.settings import InferenceSettings

log = structlog.get_logger()

MIGRATIONS: Final = Path(__file__).parent / "adapters" / "migrations"

_ROLLOUTS_LEASE: Final = "rollouts"
_TELLING_LEASE: Final = "telling"
_PINS_LEASE: Final = "pins"
_BATCHES_LEASE: Final = "batches"
_FLUSH_SHARE: Final = 0.5
"""Of the drain's time, for sending the last observations; the rest stays on the disk."""


@asynccontextmanager
async def inference(
    settings: InferenceSettings, now: Clock = utc_now, registry: CollectorRegistry = REGISTRY
) -> AsyncIterator[RunningServer]:
    """An inference service that takes calls until the block ends, then drains.

    Reports SERVING only by the caller's `set_serving`, which is due at once: every
    version with traffic was loaded, or has failed to load, before the block begins.

    Args:
        settings: Where it listens and keeps its data, and who its peers are.
        now: The clock.
        registry: Of the metrics.

    Raises:
        DatabaseUnavailable: The database does not answer.
    """
    database = Database(settings.database_url)
    metrics = ObservationMetrics(registry)
    log = await asyncio.to_thread(
        SegmentLog,
        settings.data_dir / "observations",
        limit_bytes=settings.observation_limit_bytes,
        metrics=metrics,
    )
    async with AsyncExitStack() as stack:
        stack.callback(database.close)
        await migrate(database, MIGRATIONS)
        channel = await stack.enter_async_context(connect(settings.registry_address))
        pins = RegistryPins(channel, "endpoints", now)
        catalog = RegistryClient(channel, pins)
        batch_pins = RegistryPins(channel, "batchPredictionJobs", now)
        snapshots = SnapshotClient(channel, catalog, batch_pins)
        monitor = MonitorClient(await stack.enter_async_context(connect(settings.monitor_address)))
        sender = ObservationSender(log, monitor)
        stack.push_async_callback(sender.flush, settings.drain_timeout_s * _FLUSH_SHARE)
        tasks = await stack.enter_async_context(background_tasks())
        mirror = Mirror(
            log,
            random.random,
            MirrorLimits(
                max_waiting_rows=settings.mirror_waiting_rows,
                deadline_s=settings.mirror_deadline_s,
                max_rows=settings.max_request_rows,
            ),
            mirror_counter(registry),
        )
        recorder = ShadowRecorder(SqlStore(database), mirror, now)
        stack.push_async_callback(recorder.flush)
        predictor = Predictor(
            log,
            mirror,
            max_rows=settings.max_request_rows,
            # As many random bits as a UUID's, without asking the kernel for each.
            new_id=lambda: f"{random.getrandbits(128):032x}",
            draw=random.random,
            now_us=lambda: time.time_ns() // 1000,
        )
        host = ModelHost(
            BundleFolder(settings.data_dir / "bundles", catalog, _verifier(settings)),
            await _runtimes(settings, stack, tasks),
            PrometheusMeters(registry),
            predictor,
            tasks,
            _redaction_key(settings),
        )
        reconciler = Reconciler(SqlStore(database), host)
        database.on_write(reconciler.wake)
        await reconciler.refresh()
        await host.settled()

        written = asyncio.Event()
        database.on_write(written.set)

        async def control(lease: Lease) -> None:
            store = SqlStore(database, lease)
            await RolloutController(store, host, catalog, monitor, now).run(written)

        async def keep(_: Lease) -> None:
            store = SqlStore(database)

            async def wanted() -> list[Reliance]:
                needed = await store.read(versions_needed)
                return [Reliance(endpoint, version) for endpoint, version in needed]

            async def wanted_by_batches() -> list[Reliance]:
                needed = await store.read(batch_inputs_needed)
                return [Reliance(job, target) for job, target in needed]

            async with asyncio.TaskGroup() as both:
                both.create_task(pins.run(wanted))
                both.create_task(batch_pins.run(wanted_by_batches))

        async def tell(lease: Lease) -> None:
            await DeploymentTeller(OutboxHappenings(database, lease, now), catalog).run()

        batch_runtime = OnnxRuntime(tasks, BatchLimits(max_batch_rows=RUN_ROWS, concurrency=1))
        stack.callback(batch_runtime.close)
        batches_written = asyncio.Event()
        database.on_write(batches_written.set)

        async def predict_batches(lease: Lease) -> None:
            folder = settings.data_dir / "batches"
            # Opened here, so that predictions are served while the object store is away.
            async with open_configured_blob_store(settings) as blobs:
                worker = BatchWorker(
                    SqlStore(database, lease),
                    ParquetBatchFiles(blobs, settings.blob_url, snapshots, folder / "rows"),
                    BundleFolder(folder / "bundles", catalog, _verifier(settings)),
                    batch_runtime,
                    lambda: admission.calls_under_way > 0,
                    now,
                )
                await worker.run(batches_written)

        admission = Admission(
            max_calls_per_caller=settings.max_calls_per_caller,
            max_bytes=settings.max_request_bytes_under_way,
        )
        export_admission(admission, registry)
        driller = Driller(SqlStore(database), predictor, reconciler.refresh, now)
        transactions = Transactions(database, now, SqlInferenceTx)
        apis = [
            *_apis(
                EndpointServicer(transactions, catalog, host, reconciler),
                RolloutServicer(transactions, catalog, host, reconciler, driller, tasks),
                PolicyServicer(transactions, host, reconciler),
                OipServicer(predictor, lambda: host.is_settled, admission),
                BatchServicer(transactions, snapshots),
            ),
            event_api(database),
        ]
        limits = ServerLimits(
            drain_timeout_s=settings.drain_timeout_s, deadline_exempt=(f"/{OIP_SERVICE}/",)
        )
        tasks.create_task(reconciler.run())
        tasks.create_task(mirror.run())
        tasks.create_task(recorder.run())
        tasks.create_task(sender.run())
        holder = _holder(settings)
        tasks.create_task(lead(database, _ROLLOUTS_LEASE, holder, now, control))
        tasks.create_task(lead(database, _PINS_LEASE, holder, now, keep))
        tasks.create_task(lead(database, _TELLING_LEASE, holder, now, tell))
        tasks.create_task(lead(database, _BATCHES_LEASE, holder, now, predict_batches))
        native = _native_methods(settings)
        yield await stack.enter_async_context(
            serving("inference", settings.listen, apis, limits, native)
        )


async def _runtimes(
    settings: InferenceSettings, stack: AsyncExitStack, tasks: asyncio.TaskGroup
) -> dict[Runtime, ModelRuntime]:
    limits = BatchLimits(
        max_batch_rows=settings.max_batch_rows,
        max_waiting_rows=settings.max_waiting_rows,
        concurrency=settings.model_threads,
        max_batch_bytes=settings.max_batch_bytes,
        max_waiting_bytes=settings.max_waiting_bytes,
        max_waiting_s=settings.max_waiting_s,
    )
    own = OnnxRuntime(tasks, limits)
    stack.callback(own.close)
    runtimes: dict[Runtime, ModelRuntime] = {Runtime.ONNX_RUNTIME: own}
    if settings.triton_address is not None:
        replicas = settings.triton_address.split(",")
        triton = TritonRuntime(
            ReplicaPool(replicas),
            tasks,
            replace(
                limits,
                concurrency=settings.triton_runs * len(replicas),
                linger_s=settings.triton_linger_s,
            ),
        )
        stack.push_async_callback(triton.close)
        runtimes[Runtime.TRITON] = triton
    return runtimes


def _verifier(settings: InferenceSettings) -> SignatureVerifier | None:
    if settings.signature_key_file is None:
        return None
    try:
        # Its library takes seconds to import, so only who verifies needs it.
        from services.inference.adapters.signatures import KeyVerifier

        return KeyVerifier(settings.signature_key_file)
    except ImportError as error:
        raise InvalidSettings(
            "signature_key_file needs the extra `signing`: pip install 'roundhouse[signing]'."
        ) from error
    except (OSError, ValueError, TypeError) as error:
        raise InvalidSettings(
            f"signature_key_file {settings.signature_key_file} is no usable public key: {error}"
        ) from error


def _redaction_key(settings: InferenceSettings) -> bytes:
    key = settings.redaction_key
    return b"" if key is None else key.get_secret_value().encode()


def _native_methods(settings: InferenceSettings) -> tuple[str, ...]:
    """What the server in Rust answers; warns where strangers could fill the memory by it."""
    exposed = not is_loopback(settings.listen)
    if settings.server == "grpcio" or (settings.server == "auto" and exposed):
        return ()
    if exposed:
        log.warning(
            "server.messages_unbounded",
            listen=settings.listen,
            advice="set ROUNDHOUSE_INFERENCE_SERVER=grpcio unless every caller is trusted",
        )
    return (INFER_PATH,)


def _holder(settings: InferenceSettings) -> str:
    """The same for a restarted process, so that it takes its own lease back at once."""
    return f"{socket.gethostname()}:{settings.data_dir.absolute()}"


def _apis(
    endpoint_servicer: EndpointServicer,
    rollout_servicer: RolloutServicer,
    policy_servicer: PolicyServicer,
    oip_servicer: OipServicer,
    batch_servicer: BatchServicer,
) -> list[Api]:
    return [
        (
            endpoints.DESCRIPTOR.services_by_name["EndpointService"].full_name,
            lambda server: endpoints_grpc.add_EndpointServiceServicer_to_server(
                endpoint_servicer, server
            ),
        ),
        (
            rollouts.DESCRIPTOR.services_by_name["RolloutService"].full_name,
            lambda server: rollouts_grpc.add_RolloutServiceServicer_to_server(
                rollout_servicer, server
            ),
        ),
        (
            policies.DESCRIPTOR.services_by_name["PolicyService"].full_name,
            lambda server: policies_grpc.add_PolicyServiceServicer_to_server(
                policy_servicer, server
            ),
        ),
        (
            batches.DESCRIPTOR.services_by_name["BatchService"].full_name,
            lambda server: batches_grpc.add_BatchServiceServicer_to_server(batch_servicer, server),
        ),
        (
            OIP_SERVICE,
            lambda server: register(oip_servicer, server),
        ),
    ]
