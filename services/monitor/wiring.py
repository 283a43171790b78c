"""The only place that picks the monitor's adapters."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

import grpc
from roundhouse.monitor.v1 import alert_service_pb2 as alerts
from roundhouse.monitor.v1 import alert_service_pb2_grpc as alerts_grpc
from roundhouse.monitor.v1 import ingest_service_pb2 as ingest
from roundhouse.monitor.v1 import ingest_service_pb2_grpc as ingest_grpc
from roundhouse.monitor.v1 import judgement_service_pb2 as judgements
from roundhouse.monitor.v1 import judgement_service_pb2_grpc as judgements_grpc
from roundhouse.monitor.v1 import monitor_service_pb2 as monitors
from roundhouse.monitor.v1 import monitor_service_pb2_grpc as monitors_grpc
from roundhouse.monitor.v1 import retrain_service_pb2 as retraining
from roundhouse.monitor.v1 import retrain_service_pb2_grpc as retraining_grpc
from roundhouse.monitor.v1 import slo_service_pb2 as slos
from roundhouse.monitor.v1 import slo_service_pb2_grpc as slos_grpc

from services.common.clock import Clock, utc_now
from services.common.rpc.client import connect
from services.common.rpc.events import event_api
from services.common.rpc.server import Api, RunningServer, ServerLimits, serving
from services.common.settings import InvalidSettings, is_loopback
from services.common.store.database import Database
from services.common.store.leadership import lead
from services.common.store.leases import Lease
from services.common.store.migrations import migrate
from services.common.tasks import background_tasks
from services.common.webhooks.dispatcher import Dispatcher
from services.common.webhooks.sending import http_sender
from services.common.webhooks.subscriptions import RetryPolicy, Subscription
from services.common.webhooks.targets import TargetPolicy
from services.monitor.adapters.alerting import (
    AlertWatch,
    alert_chat,
    alert_receivers,
    alert_webhook,
    begin_deliveries,
    note_gone,
)
from services.monitor.adapters.alertmanager import AlertmanagerFeed
from services.monitor.adapters.database.episodes import SqlEpisodeStore
from services.monitor.adapters.database.lists import SqlMonitorLists
from services.monitor.adapters.database.transaction import SqlMonitorTx
from services.monitor.adapters.episode_controller import EpisodeController
from services.monitor.adapters.episode_snapshots import EpisodeSnapshots, RefusableSnapshots
from services.monitor.adapters.escalating import EscalationWatch
from services.monitor.adapters.escalation_file import EscalationSetup, read_escalation
from services.monitor.adapters.explaining import Explainer, LocalFacts
from services.monitor.adapters.failure_watch import FailureWatch
from services.monitor.adapters.freezing import TrainingFreezer
from services.monitor.adapters.inference_client import InferenceClient
from services.monitor.adapters.job_history import TrainerJobHistory
from services.monitor.adapters.judging import BudgetJudge
from services.monitor.adapters.model_histories import PeerModelHistories
from services.monitor.adapters.registry_client import RegistryClient
from services.monitor.adapters.rollout_slices import InferenceRolloutSlices
from services.monitor.adapters.rounds import Rounds
from services.monitor.adapters.serving_facts import (
    InferenceFacts,
    RegistryFacts,
    TrainerFacts,
    remote_sources,
)
from services.monitor.adapters.snapshot_watch import SnapshotWatch
from services.monitor.adapters.snapshots.building import LoggedTrainingSnapshots
from services.monitor.adapters.snapshots.registry import RegistrySnapshots
from services.monitor.adapters.trainer_client import TrainerClient
from services.monitor.adapters.training_costs import TrainerCosts
from services.monitor.adapters.training_jobs import TrainerJobs
from services.monitor.api.alert_servicer import AlertServicer
from services.monitor.api.dashboard.families import Families
from services.monitor.api.dashboard.reads import Reads
from services.monitor.api.dashboard.server import Views, dashboard
from services.monitor.api.dashboard.slices import Slices
from services.monitor.api.dashboard.standing import Standing
from services.monitor.api.dashboard.training import Training
from services.monitor.api.ingest_servicer import IngestServicer
from services.monitor.api.judgement_servicer import JudgementServicer
from services.monitor.api.monitor_servicer import MonitorServicer
from services.monitor.api.retrain_servicer import RetrainServicer
from services.monitor.api.slo_servicer import SloServicer
from services.monitor.api.transactions import Transactions
from services.monitor.core.alerts.escalation import Escalation
from services.monitor.core.loop.steps import Loop
from services.monitor.core.ports import TrainingSnapshots
from services.monitor.core.slos.measuring import Meter
from services.monitor.core.stream.judge import FollowedJudge
from services.monitor.following import Following, following
from services.monitor.settings import MonitorSettings

MIGRATIONS: Final = Path(__file__).parent / "adapters" / "migrations"

_LEASE: Final = "episodes"
_SNAPSHOT_LEASE: Final = "registry-snapshots"
_ALERT_LEASE: Final = "alerts"
_ESCALATION_LEASE: Final = "alert-escalations"
_FREEZE_LEASE: Final = "training-freezes"
_FAILURE_LEASE: Final = "job-failures"
_DELIVERY_LEASE: Final = "alert-deliveries"
_ALERTMANAGER_LEASE: Final = "alertmanager"
_DELIVERY_TIMEOUT_S: Final = 10.0


_Led: TypeAlias = Callable[[Lease], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class _Peers:
    registry: grpc.aio.Channel
    trainer: grpc.aio.Channel
    inference: grpc.aio.Channel


@dataclass(frozen=True, slots=True)
class _Servicers:
    retraining: RetrainServicer
    judgements: JudgementServicer
    slos: SloServicer
    alerts: AlertServicer


@asynccontextmanager
async def monitor(settings: MonitorSettings, now: Clock = utc_now) -> AsyncIterator[RunningServer]:
    """A monitor that takes calls and works until the block ends, then drains.

    Args:
        settings: Where it listens and keeps its data, and who its peers are.
        now: The clock.

    Raises:
        DatabaseUnavailable: The database does not answer.
        InvalidSettings: A file or a URL that they name can't be used.
    """
    upwards = _upwards(settings)
    database = Database(settings.database_url)
    async with AsyncExitStack() as stack:
        stack.callback(database.close)
        await migrate(database, MIGRATIONS)
        peers = _Peers(
            await stack.enter_async_context(connect(settings.registry_address)),
            await stack.enter_async_context(connect(settings.trainer_address)),
            await stack.enter_async_context(connect(settings.inference_address)),
        )
        followed = await stack.enter_async_context(
            following(settings, database, peers.registry, now)
        )
        snapshots = RefusableSnapshots(
            LoggedTrainingSnapshots(
                database,
                followed.log,
                RegistrySnapshots(peers.registry),
                TrainerClient(peers.trainer).spec,
            )
        )
        meter = _meter(database, followed, peers, now)
        transactions = Transactions(database, now, open_tx=SqlMonitorTx, open_lists=SqlMonitorLists)
        retrain_servicer = RetrainServicer(transactions, snapshots, TrainerClient(peers.trainer))
        explainer = _explainer(database, peers, now)
        judge = BudgetJudge(FollowedJudge(followed.follower), database, now)
        judgement_servicer = JudgementServicer(judge, explainer, transactions)
        if settings.dashboard_listen:
            histories = PeerModelHistories(peers.registry, peers.inference)
            views = Views(
                Reads(transactions, explainer),
                Standing(transactions, meter, TrainerCosts(peers.trainer)),
                Training(transactions, TrainerJobs(peers.trainer)),
                Families(transactions, histories),
                Slices(transactions, histories, InferenceRolloutSlices(peers.inference)),
            )
            await stack.enter_async_context(dashboard(settings.dashboard_listen, views, database))
        server = await stack.enter_async_context(
            serving(
                "monitor",
                settings.listen,
                _apis(
                    transactions,
                    database,
                    followed,
                    _Servicers(
                        retrain_servicer,
                        judgement_servicer,
                        SloServicer(transactions, meter),
                        AlertServicer(transactions, upwards.escalation),
                    ),
                ),
                ServerLimits(drain_timeout_s=settings.drain_timeout_s),
            )
        )
        await stack.enter_async_context(
            _carried_round(settings, database, _loop(snapshots, peers, now), peers, now)
        )
        rounds = Rounds(database, settings.alert_interval_s, now)
        watches = _watches(rounds, meter, peers, upwards.escalation)
        await stack.enter_async_context(_alerting(settings, database, watches, upwards, now))
        yield server


def _loop(snapshots: TrainingSnapshots, peers: _Peers, now: Clock) -> Loop:
    return Loop(
        snapshots=EpisodeSnapshots(snapshots),
        registry=RegistryClient(peers.registry),
        trainer=TrainerClient(peers.trainer),
        inference=InferenceClient(peers.inference),
        now=now,
    )


@asynccontextmanager
async def _carried_round(
    settings: MonitorSettings, database: Database, loop: Loop, peers: _Peers, now: Clock
) -> AsyncIterator[None]:
    """Episodes are carried round the loop beside the block, by one monitor at a time."""
    controller = EpisodeController(loop, lambda lease: SqlEpisodeStore(database, lease, now))
    snapshots = SnapshotWatch(database, peers.registry, now)
    holder = f"monitor@{settings.replica_id}"
    async with background_tasks() as tasks:
        tasks.create_task(lead(database, _LEASE, holder, now, controller.run))
        tasks.create_task(lead(database, _SNAPSHOT_LEASE, holder, now, snapshots.run))
        yield


def _meter(database: Database, followed: Following, peers: _Peers, now: Clock) -> Meter:
    return Meter(
        followed.requests,
        lambda monitor, limit: database.read(
            lambda connection: SqlMonitorTx(connection, now()).newest_performance(
                monitor, "", limit
            )
        ),
        TrainerJobHistory(peers.trainer),
    )


def _watches(
    rounds: Rounds, meter: Meter, peers: _Peers, escalation: Escalation
) -> dict[str, _Led]:
    """What keeps the alerts, by the lease that it is done under."""
    led: dict[str, _Led] = {
        _ALERT_LEASE: AlertWatch(rounds, meter).run,
        _FREEZE_LEASE: TrainingFreezer(rounds, peers.trainer).run,
        _FAILURE_LEASE: FailureWatch(rounds.database, peers.trainer, rounds.now).run,
    }
    if escalation.levels:
        led[_ESCALATION_LEASE] = EscalationWatch(rounds, escalation).run
    return led


@asynccontextmanager
async def _alerting(
    settings: MonitorSettings,
    database: Database,
    watches: dict[str, _Led],
    upwards: EscalationSetup,
    now: Clock,
) -> AsyncIterator[None]:
    """Alerts are kept and delivered beside the block, by one monitor at a time."""
    holder = f"monitor@{settings.replica_id}"
    led = dict(watches)
    async with AsyncExitStack() as stack:
        policy = _targets(settings)
        if subscriptions := [*_alert_receivers(settings, policy), *upwards.subscriptions]:
            receivers = alert_receivers(*subscriptions)
            await begin_deliveries(database, receivers, now)
            sender = await stack.enter_async_context(http_sender(policy, _DELIVERY_TIMEOUT_S))
            dispatcher = Dispatcher(database, receivers, sender, RetryPolicy(), note_gone, now)
            led[_DELIVERY_LEASE] = dispatcher.run
        if settings.alertmanagers:
            # One that the settings name stands beside the monitor, in its own network.
            near = TargetPolicy(loopback=True, private=True)
            for url in settings.alertmanagers:
                _check_url(near, "ALERTMANAGER_URLS", url)
            sender = await stack.enter_async_context(http_sender(near, _DELIVERY_TIMEOUT_S))
            led[_ALERTMANAGER_LEASE] = AlertmanagerFeed(
                database, settings.alertmanagers, sender, settings.alertmanager_repeat_s, now
            ).run
        tasks = await stack.enter_async_context(background_tasks())
        for lease, work in led.items():
            tasks.create_task(lead(database, lease, holder, now, work))
        yield


def _targets(settings: MonitorSettings) -> TargetPolicy:
    return TargetPolicy(
        loopback=is_loopback(settings.listen), private=settings.alert_webhook_private
    )


def _upwards(settings: MonitorSettings) -> EscalationSetup:
    if settings.alert_escalation_file is None:
        return EscalationSetup(Escalation(), ())
    return read_escalation(settings.alert_escalation_file, _targets(settings))


def _alert_receivers(settings: MonitorSettings, policy: TargetPolicy) -> list[Subscription]:
    found = []
    if settings.alert_webhook_secret is not None:
        _check_url(policy, "ALERT_WEBHOOK_URL", settings.alert_webhook_url)
        secret = settings.alert_webhook_secret.get_secret_value()
        found.append(alert_webhook(settings.alert_webhook_url, secret))
    if settings.alert_chat_url is not None:
        url = settings.alert_chat_url.get_secret_value()
        _check_url(policy, "ALERT_CHAT_URL", url)
        found.append(alert_chat(url))
    return found


def _check_url(policy: TargetPolicy, setting: str, url: str) -> None:
    if fault := policy.url_fault(url):
        raise InvalidSettings(f"ROUNDHOUSE_MONITOR_{setting} {fault}")


def _explainer(database: Database, peers: _Peers, now: Clock) -> Explainer:
    local = LocalFacts(database, now)
    return Explainer(
        {
            **remote_sources(
                InferenceFacts(peers.inference),
                RegistryFacts(peers.registry),
                TrainerFacts(peers.trainer, local.episode_name),
            ),
            **local.sources(),
        }
    )


def _apis(
    transactions: Transactions,
    database: Database,
    followed: Following,
    servicers: _Servicers,
) -> list[Api]:
    monitor_servicer = MonitorServicer(transactions, followed.follower)
    ingest_servicer = IngestServicer(followed.intake)
    return [
        (
            monitors.DESCRIPTOR.services_by_name["MonitorService"].full_name,
            lambda server: monitors_grpc.add_MonitorServiceServicer_to_server(
                monitor_servicer, server
            ),
        ),
        (
            retraining.DESCRIPTOR.services_by_name["RetrainService"].full_name,
            lambda server: retraining_grpc.add_RetrainServiceServicer_to_server(
                servicers.retraining, server
            ),
        ),
        (
            judgements.DESCRIPTOR.services_by_name["JudgementService"].full_name,
            lambda server: judgements_grpc.add_JudgementServiceServicer_to_server(
                servicers.judgements, server
            ),
        ),
        (
            ingest.DESCRIPTOR.services_by_name["IngestService"].full_name,
            lambda server: ingest_grpc.add_IngestServiceServicer_to_server(ingest_servicer, server),
        ),
        (
            slos.DESCRIPTOR.services_by_name["SloService"].full_name,
            lambda server: slos_grpc.add_SloServiceServicer_to_server(servicers.slos, server),
        ),
        (
            alerts.DESCRIPTOR.services_by_name["AlertService"].full_name,
            lambda server: alerts_grpc.add_AlertServiceServicer_to_server(servicers.alerts, server),
        ),
        event_api(database),
    ]
