"""`roundhouse dashboards`: dashboards for other programs."""

from __future__ import annotations

import typer
from roundhouse.cli.grafana import dashboard
from roundhouse.cli.output import print_json

app = typer.Typer(help="Write dashboards for other programs.", no_args_is_help=True)


@app.callback()
def dashboards() -> None:
    """Write dashboards for other programs."""


@app.command("grafana")
def print_grafana() -> None:
    """Print a Grafana dashboard of the services' metrics and of the rules of `slos rules`."""
    print_json(dashboard())
