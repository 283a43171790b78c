"""Reports of a real monitor with half a year behind it, as people and programs read them."""

from __future__ import annotations

import asyncio
import re
import shlex
from dataclasses import replace
from datetime import UTC, date, datetime
from html.parser import HTMLParser
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st
from roundhouse.cli.app import run
from roundhouse.cli.failures import Exit
from roundhouse.cli.report.building import build_report
from roundhouse.cli.report.gathering import Gathered, Watched
from roundhouse.cli.report.periods import PeriodKind, last_period, period_with
from roundhouse.cli.report.rendering import as_html, as_markdown, counted
from roundhouse.monitor.v1.alert_pb2 import Alert
from roundhouse.monitor.v1.monitor_pb2 import Monitor
from roundhouse.monitor.v1.slo_pb2 import ErrorBudget, Slo
from roundhouse.trainer.v1.cost_service_pb2 import QueryCostsResponse

from tests.support.dashboard_scene import dashboard_scene
from tests.support.monitor_values import ENDPOINT, MONITOR

GUIDE = Path(__file__).parents[2] / "docs" / "reports.md"
UTC_ZONE = ZoneInfo("UTC")
BERLIN = ZoneInfo("Europe/Berlin")
NOW = datetime(2026, 11, 21, tzinfo=UTC)
MARCH = period_with(PeriodKind.MONTHLY, date(2026, 3, 5), BERLIN)
PARTS = ["What serves, and why", "Quality", "Drift", "Decisions", "Objectives", "Alerts"]


class Outline(HTMLParser):
    """What a page is made of, and what it would ask for elsewhere."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.open: list[str] = []
        self.headings: list[str] = []
        self.requests: list[str] = []
        self.feed(page)
        assert not set(self.open) - {"meta"}

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        if tag != "meta":
            self.open.append(tag)
        self.requests += [value for name, value in attributes if name in ("src", "href")]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] in ("h2", "h3"):
            self.headings.append(data)


def stamp(*when: int) -> Timestamp:
    made = Timestamp()
    made.FromDatetime(datetime(*when, tzinfo=UTC))
    return made


def gathered(*watched: Watched) -> Gathered:
    return Gathered("default", NOW, watched, [], QueryCostsResponse(), [])


def quiet(**parts: object) -> Watched:
    nothing = {"drift": [], "quality": [], "decisions": [], "budgets": [], "alerts": []}
    monitor = Monitor(name=MONITOR, endpoint=ENDPOINT, owner="<b>|*ops*")
    return Watched(monitor, "Nothing serves.", **{**nothing, **parts})


@given(
    st.sampled_from(PeriodKind),
    st.dates(date(1990, 1, 1), date(2060, 1, 1)),
    st.sampled_from([UTC_ZONE, BERLIN, ZoneInfo("America/Los_Angeles")]),
)
def test_periods_cover_every_day_once(kind, day, zone):
    period = period_with(kind, day, zone)
    assert period.start.date() <= day <= period.last_day
    assert period_with(kind, period.end.date(), zone).start == period.end
    assert last_period(kind, period.end, zone) == period
    assert (
        period.start.utcoffset()
        == datetime.combine(period.start.date(), datetime.min.time(), zone).utcoffset()
    )


def test_periods_have_the_names_that_people_give_them():
    day = date(2027, 1, 1)
    titles = [period_with(kind, day, UTC_ZONE).title for kind in PeriodKind]
    assert titles == ["week 53 of 2026", "January 2027", "quarter 1 of 2027"]
    assert period_with(PeriodKind.QUARTERLY, date(2026, 12, 31), UTC_ZONE).title.startswith(
        "quarter 4"
    )


def test_one_is_never_several():
    assert [counted(n, "window") for n in (0, 1, 2)] == ["0 windows", "1 window", "2 windows"]


def test_an_empty_period_says_so_in_both_formats():
    report = build_report(gathered(quiet()), MARCH)
    assert report.is_empty
    assert "<strong>Nothing happened in this period:</strong>" in as_html(report)
    assert "**Nothing happened in this period:**" in as_markdown(report)
    assert "2026-03-01 to 2026-03-31, Europe/Berlin" in as_markdown(report)


def test_alerts_are_told_by_incident_and_budgets_with_what_is_left():
    steps = [Alert.Step(action="ACKNOWLEDGED", actor="ann", time=stamp(2026, 3, 2))]
    ended = [*steps, Alert.Step(action="RESOLVED", actor="monitor", time=stamp(2026, 3, 3))]
    alerts = [
        Alert(
            resource=f"{MONITOR}/slos/fast", incident="i", severity=1, create_time=stamp(2026, 3, 2)
        ),
        Alert(resource=f"{MONITOR}/slos/answers", incident="i", state=3, steps=ended),
    ]
    budget = ErrorBudget(
        good_events=985, total_events=1000, sli=0.985, remaining=-0.5, time=stamp(2026, 3, 31)
    )
    slo = Slo(name=f"{MONITOR}/slos/answers", target=0.99, availability=Slo.Availability())
    forgotten = Slo(name=f"{MONITOR}/slos/old", target=0.9, jobs=Slo.Jobs())
    watched = quiet(alerts=alerts, budgets=[(slo, budget), (forgotten, "Not kept.")])
    (part,) = build_report(gathered(watched), MARCH).monitors
    ((first, second),) = [incident.alerts for incident in part.incidents]
    assert (first.subject, first.acknowledged_by, first.ended) == (
        "answers",
        "ann",
        datetime(2026, 3, 3, tzinfo=UTC),
    )
    assert (second.subject, second.severity, second.ended) == ("fast", "PAGE", None)
    answers, old = part.objectives
    assert not answers.met
    assert old.unknown == "Not kept."
    text = as_markdown(build_report(gathered(watched), MARCH))
    assert "0.985 (missed) | 985, 1000 | -50.0%" in text
    assert "| unknown | | | Not kept. |" in text


def test_what_others_named_is_no_markup_in_either_format():
    report = build_report(gathered(quiet()), MARCH)
    assert "&lt;b&gt;|*ops*" in as_html(report)
    assert r"\<b\>\|\*ops\*" in as_markdown(report)


@pytest.fixture
async def command(tmp_path, capsys):
    async with dashboard_scene(tmp_path) as scene:
        addresses = [f"monitor={scene.monitor}", f"trainer={scene.peers}"]
        before = [part for address in addresses for part in ("--address", address)]

        async def command(*arguments: str) -> tuple[int, str]:
            capsys.readouterr()
            line = ["--data-dir", str(tmp_path), *before, "report", *arguments]
            code = await asyncio.to_thread(run, line)
            captured = capsys.readouterr()
            return code, captured.out + captured.err

        yield command


async def test_a_quarter_is_told_as_one_page_and_as_markdown(command, tmp_path):
    quarter = ["--period", "quarterly", "--of", "2013-02-01"]
    page = tmp_path / "report.html"
    assert (await command(*quarter, "--format", "html", "--output", str(page)))[0] == Exit.OK
    outline = Outline(page.read_text())
    assert outline.headings == ["Training", "Cost", "delays", *PARTS]
    assert outline.requests == []
    assert outline.tags.count("table") == 5
    code, text = await command(*quarter)
    assert code == Exit.OK
    headings = [line.lstrip("# ") for line in text.splitlines() if line.startswith("##")]
    assert headings == outline.headings
    for told in (
        "quarter 1 of 2013",
        "2 jobs ended, 50.0% of those",
        "| error: NAN_LOSS | 1 |",
        "| delays | 9.000000 USD | 75.0% | 900 |",
        "**endpoint** delays",
        "    - **training job** first",
        "| 2013-01-07 to 2013-01-14 | 6000 | 5900 | 0.7350 | 0.0110 | 0.4400 | - |",
        "No alarm in 12 windows.",
        "| 2013-01-28 00:00 | retrain | data drift | Drifted: wind",
        "refused | cool down | Declined: the last episode ended 7.0 days ago.",
        "| good | quality, 30 d | 0.9 | 0.8 (missed) | 4, 5 | -100.0% | 2013-04-01 00:00 |",
        "FAILED. The template job's column \\`gust\\` is gone.",
    ):
        assert told in text, told
    code, text = await command("--period", "quarterly", "--of", "2013-05-31")
    assert "| data drift | ticket | wind | Wind goes further" in text


async def test_the_commands_of_the_guide_make_reports(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (block,) = re.findall(r"```bash\n(.*?)```", GUIDE.read_text(), re.DOTALL)
    for line in block.splitlines():
        _, name, *arguments = shlex.split(line)
        code, said = await command(*arguments)
        assert (name, code) == ("report", Exit.OK), said
    assert Outline((tmp_path / "week.html").read_text()).requests == []
    assert "# default: quarter" in (tmp_path / "quarter.md").read_text()


async def test_a_period_that_has_not_begun_or_a_zone_that_is_none_is_refused(command):
    for wrong, told in (
        (["--of", "2999-01-01"], "has not begun"),
        (["--time-zone", "Mars"], "no time zone"),
        (["--time-zone", "../x"], "no time zone"),
        (["--of", "yesterday"], "yesterday"),
    ):
        code, said = await command(*wrong)
        assert code == Exit.USAGE
        assert told in said
    assert (await command("--monitor", "none"))[0] == Exit.NOT_FOUND


def test_alerts_about_jobs_stand_by_training_and_keep_a_period_from_being_empty():
    alert = Alert(
        resource="projects/default/trainingJobs/nightly",
        error_class="DATA_FAULT",
        severity=ErrorBudget.SEVERITY_TICKET,
        state=Alert.STATE_OPEN,
        incident="5e1f00",
        create_time=stamp(2026, 11, 3),
        summary="Attempt 1 failed.",
        trouble=Alert.Trouble(failures=3),
    )
    november = period_with(PeriodKind.MONTHLY, date(2026, 11, 1), UTC_ZONE)
    report = build_report(replace(gathered(), alerts=[alert]), november)
    assert not report.is_empty
    assert "| 5e1f00 | nightly | data fault | ticket | 3 |" in as_markdown(report)
    assert ">nightly</td>" in as_html(report)
    assert "Nobody was called about a job." in as_markdown(build_report(gathered(), november))
