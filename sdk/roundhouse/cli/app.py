"""The `roundhouse` command: its options, its commands, and how each ends."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer
from roundhouse.cli.commands import (
    alerts,
    aliases,
    batches,
    collection,
    costs,
    dashboards,
    data,
    decision_policies,
    endpoints,
    holds,
    incidents,
    jobs,
    models,
    queues,
    registry,
    retrains,
    rollouts,
    slos,
    webhooks,
)
from roundhouse.cli.commands.demo import demo
from roundhouse.cli.commands.drift import drift
from roundhouse.cli.commands.explain import explain
from roundhouse.cli.commands.model_diff import diff_command
from roundhouse.cli.commands.model_explain import explain_command
from roundhouse.cli.commands.model_fairness import fairness_command
from roundhouse.cli.commands.model_import import import_command
from roundhouse.cli.commands.model_reliability import reliability_command
from roundhouse.cli.commands.model_robustness import robustness_command
from roundhouse.cli.commands.predict import predict
from roundhouse.cli.commands.report import report
from roundhouse.cli.commands.slices import slices
from roundhouse.cli.commands.status import status
from roundhouse.cli.commands.up import up
from roundhouse.cli.failures import (
    EXIT_CODES_HELP,
    BadOutcome,
    Exit,
    UsageFault,
    exit_of,
    sentence_of,
)
from roundhouse.cli.output import ERR
from roundhouse.cli.session import Session, resolve_addresses
from roundhouse.cli.supervisor.signals import Interrupted
from roundhouse.cli.supervisor.suite import SuiteError
from roundhouse.client import CallFailed, InvalidInput, RoundhouseError

app = typer.Typer(
    name="roundhouse",
    help="Carries a model round its whole loop: train, register, serve, watch, train again.",
    epilog=EXIT_CODES_HELP,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


@app.callback()
def root(
    context: typer.Context,
    data_dir: Annotated[
        Path,
        typer.Option(envvar="ROUNDHOUSE_DATA_DIR", help="Folder of the suite on this machine."),
    ] = Path(".roundhouse"),
    address: Annotated[
        list[str] | None,
        typer.Option(
            envvar="ROUNDHOUSE_ADDRESSES",
            help="SERVICE=HOST:PORT of a service elsewhere; may be repeated.",
        ),
    ] = None,
    project: Annotated[
        str, typer.Option(envvar="ROUNDHOUSE_PROJECT", help="Project that short names are in.")
    ] = "default",
) -> None:
    """Options that stand before the command."""
    data_dir = data_dir.absolute()
    context.obj = Session(resolve_addresses(data_dir, address or []), project, data_dir)


app.command()(up)
app.command()(demo)
app.command()(status)
app.add_typer(data.app, name="data")
app.add_typer(jobs.app, name="jobs")
app.add_typer(queues.app, name="queues")
app.add_typer(costs.app, name="costs")
models.app.command("import")(import_command)
models.app.command("explain")(explain_command)
models.app.command("diff")(diff_command)
models.app.command("reliability")(reliability_command)
models.app.command("fairness")(fairness_command)
models.app.command("robustness")(robustness_command)
app.add_typer(models.app, name="models")
app.add_typer(aliases.app, name="aliases")
registry.app.add_typer(collection.app, name="gc")
app.add_typer(registry.app, name="registry")
app.add_typer(holds.app, name="holds")
app.add_typer(endpoints.app, name="endpoints")
app.add_typer(decision_policies.app, name="policies")
app.add_typer(rollouts.app, name="rollouts")
app.add_typer(retrains.app, name="retrains")
app.add_typer(alerts.app, name="alerts")
app.add_typer(incidents.app, name="incidents")
app.add_typer(slos.app, name="slos")
app.add_typer(dashboards.app, name="dashboards")
app.add_typer(batches.app, name="batches")
app.add_typer(webhooks.app, name="webhooks")
app.command()(predict)
app.command()(drift)
app.command()(slices)
app.command()(explain)
app.command()(report)


def run(arguments: list[str]) -> int:
    """Runs one command line; gives its exit code. Errors are one sentence on stderr."""
    try:
        app(arguments)
    except UsageFault as error:
        return _ended(str(error), Exit.USAGE)
    except (BadOutcome, SuiteError) as error:
        return _ended(str(error), Exit.FAILED)
    except (CallFailed, InvalidInput) as error:
        return _ended(sentence_of(error), exit_of(error))
    except RoundhouseError as error:
        return _ended(str(error), Exit.FAULT)
    except Interrupted:
        return _ended("Stopped.", Exit.INTERRUPTED)
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else Exit.OK
    return Exit.OK


def main() -> None:
    """Entry point of the `roundhouse` command."""
    sys.exit(run(sys.argv[1:]))


def _ended(sentence: str, code: Exit) -> Exit:
    ERR.print(sentence, markup=False, highlight=False)
    return code


if __name__ == "__main__":
    main()
