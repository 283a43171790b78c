"""A report as one HTML page or as Markdown."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Final

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from roundhouse.cli.money import shown
from roundhouse.cli.report.building import Report

_SPACE: Final = re.compile(r"\s+")
_MARKUP: Final = re.compile(r"([\\`*\[\]<>|])")


def as_html(report: Report) -> str:
    """One page that asks nothing of anywhere else and has a dark mode."""
    return _rendered("report.html.j2", report)


def as_markdown(report: Report) -> str:
    """GitHub's Markdown."""
    return _rendered("report.md.j2", report)


def counted(number: int, singular: str, plural: str = "") -> str:
    """Such as `1 window` or `1,200 windows`."""
    return f"{number:,} {singular if number == 1 else plural or singular + 's'}"


def _rendered(template: str, report: Report) -> str:
    html = template.endswith(".html.j2")
    zone = report.period.zone
    environment = Environment(
        loader=PackageLoader("roundhouse.cli.report"),
        autoescape=select_autoescape(["html.j2"]),
        finalize=None if html else _plain,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "day": lambda moment: f"{moment.astimezone(zone):%Y-%m-%d}",
        "moment": lambda moment: f"{moment.astimezone(zone):%Y-%m-%d %H:%M}",
        "share": lambda value: f"{value:.1%}",
        "number": lambda value: "-" if value is None else f"{value:.4g}",
        "scored": lambda value: "-" if value is None else f"{value:.4f}",
        "words": lambda value: value.lower().replace("_", " "),
        "money": shown,
        "counted": counted,
    }

    def window(start: datetime, end: datetime) -> str:
        return f"{start.astimezone(zone):%Y-%m-%d} to {end.astimezone(zone):%Y-%m-%d}"

    return environment.get_template(template).render(report=report, window=window)


def _plain(value: object) -> str:
    """Text that Markdown takes as it is, also in a cell of a table."""
    return _MARKUP.sub(r"\\\1", _SPACE.sub(" ", str(value)))
