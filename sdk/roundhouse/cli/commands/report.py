"""`roundhouse report`: what happened in a week, a month or a quarter."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import typer
from roundhouse.cli import names
from roundhouse.cli.failures import UsageFault
from roundhouse.cli.output import ERR
from roundhouse.cli.report.building import Report, build_report
from roundhouse.cli.report.gathering import gather
from roundhouse.cli.report.periods import PeriodKind, last_period, period_with
from roundhouse.cli.report.rendering import as_html, as_markdown
from roundhouse.cli.session import session_of


class Format(StrEnum):
    """What a report is written as."""

    HTML = "html"
    MARKDOWN = "markdown"


_RENDERERS: Final[dict[Format, Callable[[Report], str]]] = {
    Format.HTML: as_html,
    Format.MARKDOWN: as_markdown,
}


def report(
    context: typer.Context,
    period: Annotated[
        PeriodKind, typer.Option(help="How long; weeks begin on Monday.")
    ] = PeriodKind.WEEKLY,
    of: Annotated[
        datetime | None,
        typer.Option(
            formats=["%Y-%m-%d"], help="A day of the period.", show_default="the last that is over"
        ),
    ] = None,
    time_zone: Annotated[
        str, typer.Option(help="Whose days they are, such as Europe/Berlin.")
    ] = "UTC",
    format_: Annotated[
        Format, typer.Option("--format", help="What it is written as.")
    ] = Format.MARKDOWN,
    output: Annotated[
        Path | None,
        typer.Option(dir_okay=False, help="File to write.", show_default="standard output"),
    ] = None,
    monitor: Annotated[
        list[str] | None,
        typer.Option(help="Monitor's id or resource name; may be repeated. Without: all."),
    ] = None,
) -> None:
    """Write what happened in a week, a month or a quarter, as one page or as Markdown."""
    session = session_of(context)
    zone, now = _zone(time_zone), datetime.now(UTC)
    span = last_period(period, now, zone) if of is None else period_with(period, of.date(), zone)
    if span.start > now:
        raise UsageFault(f"--of is in the future: {span.title} has not begun.")
    wanted = [names.full(session.project, "monitors", each) for each in monitor or []]
    with session.client() as client:
        found = build_report(gather(client, session.project, wanted, span, now), span)
    text = _RENDERERS[format_](found)
    if output is None:
        typer.echo(text, nl=False)
        return
    output.write_text(text, encoding="utf-8")
    empty = " Nothing happened in it." if found.is_empty else ""
    ERR.print(f"Wrote {span.title} to {output}.{empty}", markup=False, highlight=False)


def _zone(key: str) -> ZoneInfo:
    try:
        return ZoneInfo(key)
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise UsageFault(f"{key!r} is no time zone; write one such as Europe/Berlin.") from error
