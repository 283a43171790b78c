"""What the dashboard serves over HTTP, and to whom."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from dataclasses import replace

import aiohttp
import grpc
import pytest
from pydantic import ValidationError

from services.common.clock import utc_now
from services.common.rpc.remote import DependencyUnavailable, RemoteError
from services.monitor.adapters.database.lists import SqlMonitorLists
from services.monitor.adapters.database.tables import DRIFT_REPORTS
from services.monitor.adapters.database.transaction import SqlMonitorTx
from services.monitor.api.dashboard.documents import heat_map
from services.monitor.api.dashboard.families import Families
from services.monitor.api.dashboard.reads import Reads
from services.monitor.api.dashboard.server import Views, dashboard
from services.monitor.api.dashboard.slices import Slices
from services.monitor.api.dashboard.standing import Standing
from services.monitor.api.dashboard.training import Training
from services.monitor.api.transactions import Transactions
from services.monitor.core.attention import Urgency, concerns
from services.monitor.core.errors import EndpointNotFound
from services.monitor.core.heat import summary_of
from services.monitor.core.loop.episodes import EpisodeState
from services.monitor.core.slos.measuring import Meter
from services.monitor.core.slos.objectives import Sli, SliKind, Slo
from services.monitor.core.use_cases.slos import create_slo
from services.monitor.settings import MonitorSettings
from tests.support.dashboard_scene import drift_reports, write_history
from tests.support.monitor_database import monitor_database, written
from tests.support.monitor_values import ENDPOINT, JOB, MONITOR, watched

TIMEOUT = aiohttp.ClientTimeout(total=30)
VIEWS = (
    *("explanation", "loop", "executive", "families", "debug"),
    *("slices", "rollout-slices", "failures", "queue", "jobs"),
)


class Away:
    """An explainer whose peers fail as they are told."""

    def __init__(self, failure):
        self._failure = failure

    async def explain(self, endpoint):
        raise self._failure


@pytest.fixture
async def database(sqlite_url):
    async with monitor_database(sqlite_url) as database:
        yield database


class AwayTrainer:
    """A trainer that is away from objectives about jobs, and fails costs as it is told."""

    def __init__(self, failure):
        self._failure = failure

    async def ended(self, project):
        raise DependencyUnavailable("trainer")

    async def of(self, project):
        raise self._failure

    under_way = newest = view = test_of = of


@asynccontextmanager
async def served(database, failure=None, listen="127.0.0.1:0"):
    failure = failure or RemoteError("inference", grpc.StatusCode.UNAVAILABLE)
    transactions = Transactions(database, utc_now, open_tx=SqlMonitorTx, open_lists=SqlMonitorLists)
    trainer = AwayTrainer(failure)
    meter = Meter(requests=None, reports=lambda monitor, limit: newest(database), jobs=trainer)
    views = Views(
        Reads(transactions, Away(failure)),
        Standing(transactions, meter, trainer),
        Training(transactions, trainer),
        Families(transactions, trainer),
        Slices(transactions, trainer, trainer),
    )
    async with (
        dashboard(listen, views, database) as port,
        aiohttp.ClientSession(f"http://127.0.0.1:{port}", timeout=TIMEOUT) as session,
    ):
        yield session


def newest(database):
    return database.read(
        lambda connection: SqlMonitorTx(connection, utc_now()).newest_performance(MONITOR, "", 10)
    )


async def asked(session, path, **parameters):
    async with session.get(f"/api/{path}", params=parameters) as answer:
        return answer.status, await answer.json()


async def test_the_page_and_its_files_come_with_a_policy_that_allows_nothing_from_elsewhere(
    database,
):
    async with served(database) as session:
        for path in ("/", "/static/app.js", "/static/views/debug.js", "/api/monitors", "/none"):
            async with session.get(path) as answer:
                policy = answer.headers["Content-Security-Policy"].split("; ")
                assert policy[0] == "default-src 'none'"
                assert not any("unsafe" in rule or "http" in rule for rule in policy)
                assert answer.headers["X-Content-Type-Options"] == "nosniff"
        async with session.get("/static/../server.py") as answer:
            assert answer.status == 404


async def test_on_loopback_a_page_of_another_name_reads_nothing(database):
    async with served(database) as session:
        for host, status in (("evil.example:7204", 421), ("localhost:7204", 200)):
            async with session.get("/api/monitors", headers={"Host": host}) as answer:
                assert answer.status == status


async def test_without_a_monitor_there_is_nothing_to_choose_and_nothing_to_look_at(database):
    async with served(database) as session:
        assert await asked(session, "monitors") == (200, {"monitors": [], "left_out": 0})
        assert (await asked(session, "oncall"))[1]["concerns"] == []


async def test_a_monitor_that_is_not_there_or_not_named_is_refused_in_words(database):
    async with served(database) as session:
        for view in VIEWS:
            status, body = await asked(session, view, monitor=MONITOR)
            assert (status, body["reason"]) == (404, "MONITOR_NOT_FOUND")
            status, body = await asked(session, view)
            assert (status, body["reason"]) == (400, "INVALID_REQUEST")


async def test_a_monitor_without_a_judged_window_has_empty_views(database):
    await written(database, watched)
    async with served(database) as session:
        assert (await asked(session, "loop", monitor=MONITOR))[1]["episodes"] == []
        assert (await asked(session, "executive", monitor=MONITOR))[1]["quality"] == []
        assert (await asked(session, "debug", monitor=MONITOR))[1]["windows"] == []


@pytest.mark.parametrize(
    ("failure", "status", "reason"),
    [
        (RemoteError("registry", grpc.StatusCode.UNAVAILABLE), 503, "DEPENDENCY_UNAVAILABLE"),
        (RemoteError("trainer", grpc.StatusCode.DEADLINE_EXCEEDED), 503, "DEPENDENCY_TIMEOUT"),
        (EndpointNotFound(ENDPOINT), 404, "ENDPOINT_NOT_FOUND"),
    ],
)
async def test_while_a_peer_is_away_the_explanation_says_so_and_the_rest_answers(
    database, failure, status, reason
):
    await written(database, write_history)
    async with served(database, failure) as session:
        told = await asked(session, "explanation", monitor=MONITOR)
        assert (told[0], told[1]["reason"]) == (status, reason)
        for view in ("loop", "executive", "debug"):
            assert (await asked(session, view, monitor=MONITOR))[0] == 200


async def test_while_the_trainer_is_away_only_what_it_knows_is_unknown(database):
    def promise(tx):
        write_history(tx)
        create_slo(
            tx,
            f"{MONITOR}/slos/jobs",
            lambda meta: Slo(meta=meta, sli=Sli(SliKind.JOBS), target=0.9, min_bad_events=1),
        )

    await written(database, promise)
    async with served(database) as session:
        good, jobs = (await asked(session, "budgets", monitor=MONITOR))[1]["objectives"]
        assert (good["total"], good["remaining"] < 0) == (5, True)
        assert [rule["firing"] for rule in good["rules"]] == [True]
        assert "trainer can't be reached" in jobs["unknown"]
        status, told = await asked(session, "costs", monitor=MONITOR)
        assert (status, told["reason"]) == (503, "DEPENDENCY_UNAVAILABLE")
        assert (await asked(session, "costs", monitor=f"{MONITOR}-2"))[0] == 404
        for view in ("queue", "jobs", "families", "rollout-slices"):
            assert (await asked(session, view, monitor=MONITOR))[0] == 503
        assert (await asked(session, "job", name=JOB))[0] == 503
        assert (await asked(session, "job", name=MONITOR))[0] == 400


async def test_the_views_tell_the_monitor_s_own_records(database):
    waiting = await written(database, write_history)
    async with served(database) as session:
        loop = (await asked(session, "loop", monitor=MONITOR))[1]
        assert [each["state"] for each in loop["episodes"]] == [
            "AWAITING_APPROVAL",
            "FAILED",
            "PROMOTED",
        ]
        executive = (await asked(session, "executive", monitor=MONITOR))[1]
        assert len(executive["quality"]) == 24
        assert executive["quality"][0]["window_start"] < executive["quality"][1]["window_start"]
        assert executive["ends"] == [
            {"month": "2013-01", "ends": {"PROMOTED": 1}},
            {"month": "2013-03", "ends": {"FAILED": 1}},
        ]
        kinds = [each["kind"] for each in executive["decisions"]]
        assert sorted(kinds) == ["DECLINED"] * 2 + ["TRIGGERED"] * 3
        queue = (await asked(session, "oncall"))[1]["concerns"]
        assert {each["kind"] for each in queue} == {"AWAITING_APPROVAL", "FAILED", "DATA_DRIFT"}
        assert waiting.meta.name in {each["subject"] for each in queue}
        (incident,) = (await asked(session, "incidents"))[1]["incidents"]
        assert (incident["cause"], incident["failures"]) == ("node n7", 1)
        (alert,) = incident["alerts"]
        assert alert["log"] == ["epoch 3 of 40", "worker w-1 is gone"]
        failed = (await asked(session, "failures", monitor=MONITOR))[1]["failures"]
        assert {each["job"].rpartition("/")[2] for each in failed} == {"first-0", "fares-9"}
        debug = (await asked(session, "debug", monitor=MONITOR))[1]
        assert debug["rows"][0]["feature"] == "wind"
        newest = debug["windows"][0]["name"]
        sliced = (await asked(session, "slices", monitor=MONITOR))[1]
        assert sliced["features"] == ["carrier"]
        of_version = next(each for each in sliced["reports"] if each["version"])
        told = (await asked(session, "report-slices", report=of_version["name"]))[1]
        assert [each["value"] for each in told["metrics"]["auc"]] == ["HA", "UA", "OO"]
        assert [each.get("is_worse") for each in told["metrics"]["auc"]] == [True, False, None]
        assert "inference answered UNAVAILABLE" in told["unknown"]
        drawn = (await asked(session, "histograms", report=newest, feature="wind"))[1]
        assert drawn["points"][0]["drifted"]
        assert len(drawn["points"][0]["bins"]) == 12
        where = (await asked(session, "drift-slices", report=newest))[1]["slices"]
        assert (where["measured"], where["standing_out"], where["lasting"]) == (2, 1, 1)
        told = [(each["slice"], each["lasts"], each["hits"]) for each in where["points"]]
        assert told == [("carrier = HA", True, 4), ("carrier = UA", False, 0)]
        assert len(where["points"][0]["bins"]) == 12
        followed = (await asked(session, "attributions", report=newest))[1]["attributions"]
        assert (followed["measured"], followed["moved"], followed["lasting"]) == (2, 2, 2)
        assert (followed["baseline_rows"], followed["window_rows"]) == (900, 1000)
        assert followed["points"][0] == {
            "feature": "wind",
            "baseline": 0.6,
            "window": 0.1,
            "half_width": 0.15,
            "moved": True,
            "hits": 4,
            "lasts": True,
        }
        for path in ("drift-slices", "attributions"):
            assert (await asked(session, path, report=f"{MONITOR}/driftReports/r"))[0] == 404


async def test_a_report_from_before_there_were_summaries_is_drawn_all_the_same(database):
    await written(database, write_history)
    async with served(database) as session:
        drawn = await asked(session, "debug", monitor=MONITOR)
        old = DRIFT_REPORTS.table.update().values(summary=None)
        await database.write(lambda connection: connection.execute(old))
        assert await asked(session, "debug", monitor=MONITOR) == drawn


async def test_an_open_page_is_told_of_what_is_written_and_let_go_when_the_server_stops(database):
    await written(database, watched)
    async with served(database) as session, session.get("/events") as stream:
        assert stream.content_type == "text/event-stream"
        await stream.content.readuntil(b"\n\n")
        await written(database, lambda tx: watched(tx, f"{MONITOR}-2", endpoint=f"{ENDPOINT}-2"))
        while not (message := await stream.content.readuntil(b"\n\n")).startswith(b"data: "):
            pass
        assert json.loads(message[6:])["type"] == "roundhouse.monitor.monitor.created"


def test_the_heat_map_keeps_the_features_that_went_furthest_and_says_how_many_it_left_out():
    reports = drift_reports()
    drawn = heat_map([summary_of(report) for report in reversed(reports)], 2)
    assert drawn["rows"][0]["feature"] == "wind"
    assert len(drawn["rows"]) == 2
    assert drawn["features_left_out"] == 6
    assert all(len(row["cells"]) == len(reports) for row in drawn["rows"])


def test_serving_skew_stands_for_its_feature_in_the_heat_map_before_a_stronger_effect():
    report = drift_reports()[0]
    strong = replace(report.points[0], effect_size=0.4, drifted=False)
    skewed = replace(strong, effect_size=0.2, skewed=True)
    (row,) = heat_map([summary_of(replace(report, points=(strong, skewed)))], 1)["rows"]
    (cell,) = row["cells"]
    assert (cell["excess"], cell["skewed"], cell["drifted"]) == (2.0, True, False)


async def test_a_failed_episode_is_a_concern_until_a_later_one_is_promoted(database):
    waiting = await written(database, write_history)
    failed = replace(waiting, state=EpisodeState.FAILED)
    promoted = replace(waiting, state=EpisodeState.PROMOTED)
    assert [each.urgency for each in concerns(None, [failed])] == [Urgency.SOON]
    assert concerns(None, [promoted, failed]) == ()
    assert [each.kind for each in concerns(None, [failed, promoted])] == ["FAILED"]


def test_an_address_is_needed_or_nothing_at_all():
    assert MonitorSettings(dashboard_listen="").dashboard_listen == ""
    with pytest.raises(ValidationError):
        MonitorSettings(dashboard_listen="7204")
