"""The only place that picks the registry's adapters."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Final

import structlog
from roundhouse.registry.v1 import dataset_service_pb2 as datasets
from roundhouse.registry.v1 import dataset_service_pb2_grpc as datasets_grpc
from roundhouse.registry.v1 import evaluation_service_pb2 as evaluations
from roundhouse.registry.v1 import evaluation_service_pb2_grpc as evaluations_grpc
from roundhouse.registry.v1 import lineage_service_pb2 as lineage
from roundhouse.registry.v1 import lineage_service_pb2_grpc as lineage_grpc
from roundhouse.registry.v1 import model_service_pb2 as models
from roundhouse.registry.v1 import model_service_pb2_grpc as models_grpc
from roundhouse.registry.v1 import retention_service_pb2 as retention
from roundhouse.registry.v1 import retention_service_pb2_grpc as retention_grpc
from roundhouse.registry.v1 import webhook_service_pb2 as webhooks
from roundhouse.registry.v1 import webhook_service_pb2_grpc as webhooks_grpc

from services.common.blobs.content import ContentStore
from services.common.blobs.opening import open_configured_blob_store
from services.common.blobs.port import BlobStore
from services.common.blobs.staging import Staging
from services.common.clock import Clock, utc_now
from services.common.rpc.events import event_api
from services.common.rpc.server import Api, RunningServer, ServerLimits, serving
from services.common.settings import InvalidSettings, is_loopback
from services.common.store.database import Database
from services.common.store.leadership import lead
from services.common.store.migrations import migrate
from services.common.tasks import background_tasks
from services.common.webhooks.cloudevents import cloud_event
from services.common.webhooks.dispatcher import Dispatcher
from services.common.webhooks.sealing import SecretBox, make_keys, read_keys
from services.common.webhooks.sending import http_sender
from services.common.webhooks.subscriptions import RetryPolicy
from services.common.webhooks.targets import TargetPolicy
from services.registry.adapters.database.gone import end_subscription
from services.registry.adapters.database.lists import SqlRegistryLists
from services.registry.adapters.database.transaction import SqlRegistryTx
from services.registry.adapters.database.webhooks import seal_stored, subscriptions
from services.registry.adapters.formats.inspector import ContentInspector
from services.registry.adapters.metrics import PrometheusIntegrityMeter
from services.registry.adapters.openlineage import open_lineage
from services.registry.adapters.parquet.cleaner import ArrowTableCleaner
from services.registry.adapters.records.rebuilding import RebuildReport, rebuild
from services.registry.adapters.records.shipping import RecordShipper
from services.registry.api import collector as collecting
from services.registry.api import scrub as scrubbing
from services.registry.api.artifacts import Artifacts
from services.registry.api.claims import BlobClaims
from services.registry.api.collector import Collector
from services.registry.api.dataset_servicer import DatasetServicer
from services.registry.api.evaluation_servicer import EvaluationServicer
from services.registry.api.integrity import Integrity
from services.registry.api.lineage_servicer import LineageServicer
from services.registry.api.model_servicer import ModelServicer
from services.registry.api.presigned import PresignedFiles
from services.registry.api.retention_servicer import RetentionServicer
from services.registry.api.scrub import Scrub
from services.registry.api.snapshot_files import SnapshotFiles
from services.registry.api.transactions import Transactions
from services.registry.api.webhook_servicer import WebhookServicer
from services.registry.core.ports import BundleSigner
from services.registry.core.webhooks import WebhookFormat
from services.registry.settings import RegistrySettings

log = structlog.get_logger()

MIGRATIONS: Final = Path(__file__).parent / "adapters" / "migrations"

RENDERERS: Final = {
    WebhookFormat.CLOUDEVENTS: cloud_event,
    WebhookFormat.OPENLINEAGE: open_lineage,
}

_WEBHOOKS_LEASE: Final = "webhooks"


@asynccontextmanager
async def registry(
    settings: RegistrySettings, now: Clock = utc_now
) -> AsyncIterator[RunningServer]:
    """A registry that takes calls until the block ends, then drains.

    Args:
        settings: Where it listens and keeps its data.
        now: The clock.

    Raises:
        UnsafeStoreError: The blob store would lose writes.
        DatabaseUnavailable, BlobStoreUnavailable: One of them does not answer.
        DatabaseBehindRecords: The database is not the one that goes with the blob store.
        InvalidSettings: A key that they name can't be used.
    """
    box = _secret_box(settings)
    database = Database(settings.database_url)
    try:
        await migrate(database, MIGRATIONS)
        if sealed := await database.write(lambda connection: seal_stored(connection, box)):
            log.info("webhooks.secrets_sealed", webhooks=sealed)
        async with (
            open_configured_blob_store(settings, public_url=settings.s3_public_url) as blobs,
            AsyncExitStack() as stack,
            background_tasks() as tasks,
        ):
            records = RecordShipper(database, blobs)
            await records.start()
            transactions = Transactions(
                database,
                now,
                open_tx=SqlRegistryTx,
                open_lists=SqlRegistryLists,
                recorder=records,
            )
            contents = ContentStore(blobs)
            integrity = Integrity(transactions, contents, PrometheusIntegrityMeter())
            scrub = Scrub(
                transactions,
                integrity,
                period=timedelta(seconds=settings.scrub_period_s),
                bytes_per_s=settings.scrub_bytes_per_s,
            )
            holder = _holder(settings)
            policy = _target_policy(settings)
            sender = await stack.enter_async_context(
                http_sender(policy, settings.webhook_timeout_s)
            )
            dispatcher = Dispatcher(
                database,
                subscriptions(RENDERERS, box),
                sender,
                RetryPolicy(settings.webhook_attempts, settings.webhook_first_retry_s),
                end_subscription,
                now,
            )
            tasks.create_task(lead(database, _WEBHOOKS_LEASE, holder, now, dispatcher.run))
            webhook_servicer = WebhookServicer(transactions, policy, box.seal)
            claims = BlobClaims(transactions, holder)
            await claims.forget_former()
            collector = Collector(
                transactions,
                contents,
                Staging(blobs, now),
                removal=timedelta(seconds=settings.removal_lifetime_s),
                clock_skew=timedelta(seconds=settings.store_clock_skew_s),
                abandoned_after=timedelta(seconds=settings.abandoned_upload_age_s),
            )
            tasks.create_task(claims.run())
            for lease, work in ((scrubbing.LEASE, scrub.run), (collecting.LEASE, collector.run)):
                tasks.create_task(lead(database, lease, holder, now, work))
            retention_servicer = RetentionServicer(transactions, collector, now)
            async with serving(
                "registry",
                settings.listen,
                [
                    *_apis(settings, transactions, claims, integrity, blobs, now),
                    (
                        webhooks.DESCRIPTOR.services_by_name["WebhookService"].full_name,
                        lambda server: webhooks_grpc.add_WebhookServiceServicer_to_server(
                            webhook_servicer, server
                        ),
                    ),
                    _retention_api(retention_servicer),
                    event_api(database),
                ],
                ServerLimits(drain_timeout_s=settings.drain_timeout_s),
            ) as server:
                yield server
    finally:
        database.close()


async def rebuild_metadata(settings: RegistrySettings) -> RebuildReport:
    """The empty database that the settings name, filled from the blob store they name.

    Raises:
        UnsafeStoreError: The blob store is absent, or would lose writes.
        DatabaseUnavailable, BlobStoreUnavailable: One of them does not answer.
        DatabaseNotEmpty: The database is left as it is.
    """
    database = Database(settings.database_url)
    try:
        await migrate(database, MIGRATIONS)
        async with open_configured_blob_store(settings) as blobs:
            return await rebuild(database, blobs)
    finally:
        database.close()


def _target_policy(settings: RegistrySettings) -> TargetPolicy:
    """Where webhooks may go: to this machine only if every caller is on it anyway."""
    return TargetPolicy(
        loopback=is_loopback(settings.listen), private=settings.webhook_private_targets
    )


def _signer(settings: RegistrySettings) -> BundleSigner | None:
    if settings.signing_key_file is None:
        return None
    try:
        # Its library takes seconds to import, so only who signs needs it.
        from services.registry.adapters.signing import KeySigner

        return KeySigner(settings.signing_key_file)
    except ImportError as error:
        raise InvalidSettings(
            "signing_key_file needs the extra `signing`: pip install 'roundhouse[signing]'."
        ) from error
    except (OSError, ValueError, TypeError) as error:
        raise InvalidSettings(
            f"signing_key_file {settings.signing_key_file} is no usable private key: {error}"
        ) from error


def _secret_box(settings: RegistrySettings) -> SecretBox:
    path = settings.webhook_key_file or settings.data_dir / "webhooks.key"
    try:
        if settings.webhook_key_file is None:
            make_keys(path)
        return read_keys(path)
    except (OSError, ValueError) as error:
        raise InvalidSettings(f"webhook_key_file {path} is no usable key: {error}") from error


def _holder(settings: RegistrySettings) -> str:
    """The same for a restarted process, so that it takes its own lease back at once."""
    return f"{socket.gethostname()}:{settings.data_dir.absolute()}"


def _retention_api(servicer: RetentionServicer) -> Api:
    return (
        retention.DESCRIPTOR.services_by_name["RetentionService"].full_name,
        lambda server: retention_grpc.add_RetentionServiceServicer_to_server(servicer, server),
    )


def _apis(
    settings: RegistrySettings,
    transactions: Transactions,
    claims: BlobClaims,
    integrity: Integrity,
    blobs: BlobStore,
    now: Clock,
) -> list[Api]:
    contents = ContentStore(blobs)
    staging = Staging(blobs, now)
    files = SnapshotFiles(
        transactions,
        contents,
        claims,
        ArrowTableCleaner(),
        max_upload_bytes=settings.max_upload_bytes,
    )
    artifacts = Artifacts(
        transactions,
        contents,
        claims,
        staging.partials,
        ContentInspector(),
        _signer(settings),
        max_artifact_bytes=settings.max_artifact_bytes,
    )
    presigned = PresignedFiles(
        transactions,
        contents,
        claims,
        staging,
        now,
        max_artifact_bytes=settings.max_artifact_bytes,
    )
    dataset_servicer = DatasetServicer(transactions, files)
    model_servicer = ModelServicer(transactions, artifacts, presigned, integrity)
    evaluation_servicer = EvaluationServicer(transactions)
    lineage_servicer = LineageServicer(transactions)
    return [
        (
            datasets.DESCRIPTOR.services_by_name["DatasetService"].full_name,
            lambda server: datasets_grpc.add_DatasetServiceServicer_to_server(
                dataset_servicer, server
            ),
        ),
        (
            models.DESCRIPTOR.services_by_name["ModelService"].full_name,
            lambda server: models_grpc.add_ModelServiceServicer_to_server(model_servicer, server),
        ),
        (
            evaluations.DESCRIPTOR.services_by_name["EvaluationService"].full_name,
            lambda server: evaluations_grpc.add_EvaluationServiceServicer_to_server(
                evaluation_servicer, server
            ),
        ),
        (
            lineage.DESCRIPTOR.services_by_name["LineageService"].full_name,
            lambda server: lineage_grpc.add_LineageServiceServicer_to_server(
                lineage_servicer, server
            ),
        ),
    ]
