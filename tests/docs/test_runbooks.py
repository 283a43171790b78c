"""Whatever calls a person has a runbook, and what a runbook tells to type can be typed."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer
from roundhouse.cli.app import app

from services.monitor.core.alerts.failures import RULES
from services.monitor.core.resources import ChangeKind
from services.monitor.core.use_cases.alerts import RUNBOOKS
from services.trainer.core.failures import ErrorClass
from tests.support.monitor_values import MONITOR

(UsageError,) = typer.BadParameter.__bases__  # Typer keeps its click to itself
ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docs" / "runbooks"
INDEX = (FOLDER / "README.md").read_text()
BOOKS = sorted(set(FOLDER.rglob("*.md")) - {FOLDER / "README.md"})
HEADINGS = ["What it means", "How to see it", "What to do"]
COMMAND = re.compile(r"`(roundhouse [^`]+)`|^ {4}(roundhouse .+)$", re.MULTILINE)
LINK = re.compile(r"\]\(([^)#]+)\)")


def book_of(folder: str, kind: str) -> Path:
    return FOLDER / folder / f"{kind.lower().replace('_', '-')}.md"


def commands(text: str) -> list[list[str]]:
    found = [inline or line for inline, line in COMMAND.findall(text)]
    return [shlex.split(each)[1:] for each in found]


def checked(words: list[str]) -> None:
    """Find the command and parse its words, without doing anything.

    Raises:
        AssertionError: There is no such command, or something that it needs is not there.
        UsageError: It has no such option.
    """
    command: Any = typer.main.get_command(app)
    context = command.context_class(command, info_name="roundhouse")
    while hasattr(command, "commands"):
        assert words, f"{command.name} needs a command"
        name, *words = words
        assert name in command.commands, name
        command = command.commands[name]
        context = command.context_class(command, info_name=name, parent=context)
    given, left, _ = command.make_parser(context).parse_args(args=words)
    assert not left, left
    if given.get("help"):
        return
    for each in command.params:
        assert not each.required or given.get(each.name) is not None, each.name


def test_each_kind_of_alert_drift_and_training_error_has_a_runbook_and_none_is_left_over():
    wanted = {ROOT / path for path in RUNBOOKS.values()}
    wanted |= {book_of("drift", kind) for kind in ChangeKind if kind is not ChangeKind.NONE}
    wanted |= {book_of("training", each) for each in ErrorClass}
    assert wanted == set(BOOKS)


@pytest.mark.parametrize("book", BOOKS, ids=lambda book: f"{book.parent.name}/{book.stem}")
def test_a_runbook_says_what_it_means_how_to_see_it_and_what_to_do(book):
    text = book.read_text()
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == HEADINGS
    for part in re.split(r"^## .+$", text, flags=re.MULTILINE)[1:]:
        assert part.strip()
    assert commands(text)
    for words in commands(text):
        checked(words)
    for target in LINK.findall(text):
        assert (book.parent / target).is_file(), target


def test_the_index_leads_to_every_runbook_by_the_name_that_alerts_have():
    rows = re.findall(
        r"^\| `([A-Z_]+)`[^|]*\|[^|]*\| \[([^\]]+)\]\(([^)]+)\) \|$", INDEX, re.MULTILINE
    )
    assert {FOLDER / target for *_, target in rows} == set(BOOKS)
    for kind, shown, target in rows:
        assert shown == target
        assert Path(target).stem == kind.lower().replace("_", "-")


@pytest.mark.parametrize(
    "wrong",
    [
        "alerts mend X",
        "alerts show",
        "alerts list A B",
        "slos",
        "nothing",
        f"drift {MONITOR} --loud",
    ],
)
def test_a_command_that_could_not_be_typed_is_found(wrong):
    with pytest.raises((AssertionError, UsageError)):
        checked(wrong.split())


def test_each_training_error_has_a_rule_for_its_alerts_and_that_names_its_runbook():
    for each in ErrorClass:
        assert ROOT / RULES[each].runbook == book_of("training", each)
    assert set(RULES) == set(ErrorClass)
