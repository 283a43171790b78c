"""What the guide to alerts says is what the rules do."""

from __future__ import annotations

import re
import shlex
from datetime import timedelta
from pathlib import Path

from services.common.webhooks.targets import TargetPolicy
from services.monitor.adapters.escalation_file import read_escalation
from services.monitor.core.alerts.alerting import ErrorClass
from services.monitor.core.alerts.failures import RULES
from services.monitor.core.alerts.incidents import MOST_ALERTS
from tests.docs.test_runbooks import checked
from tests.support.receiver import SECRET

GUIDE = (Path(__file__).parents[2] / "docs" / "alerts.md").read_text()


def test_the_table_has_each_class_with_its_hold_and_its_page() -> None:
    found = {}
    for row in re.findall(r"^\| (`.+?) \|(.+)\|$", GUIDE, re.MULTILINE):
        for error_class in re.findall(r"`([A-Z_]+)`", row[0]):
            found[error_class] = [cell.strip() for cell in row[1].split("|")]
    assert set(found) == set(RULES)
    for error_class, (when, shared, page) in found.items():
        rule = RULES[error_class]
        if rule.hold is None:
            assert when == "at once"
        else:
            assert int(re.search(r"(\d)(nd|rd|th)", when)[1]) == rule.hold.failures
            assert ("machine" in when) == rule.hold.of_node
        facets = {"NODE": "machine", "SNAPSHOT": "snapshot", "MODEL": "model"}
        for facet, word in facets.items():
            assert (word in shared) == (facet in rule.shared)
        assert page == (f"from {rule.pages_from} jobs on" if rule.pages_from else "")
    assert f"More than {MOST_ALERTS} jobs" in GUIDE


def test_the_commands_can_be_typed() -> None:
    commands = re.findall(r"^ {4}roundhouse (.+?)(?: +#.*)?$", GUIDE, re.MULTILINE)
    assert len(commands) == 9
    for command in commands:
        checked(shlex.split(command))


def test_the_escalation_policy_can_be_used(tmp_path: Path) -> None:
    (policy,) = re.findall(r"```toml\n(.+?)```", GUIDE, re.DOTALL)
    (tmp_path / "escalation.toml").write_text(policy)
    (tmp_path / "managers.secret").write_text(SECRET)
    (tmp_path / "directors.chat").write_text("https://chat.example/hook")
    targets = TargetPolicy(loopback=False, private=False)
    found = read_escalation(tmp_path / "escalation.toml", targets).escalation
    assert found.receivers == ("managers", "directors")
    assert [level.after for level in found.levels] == [timedelta(minutes=15), timedelta(hours=1)]
    (_, classes) = (level.error_classes for level in found.levels)
    assert classes <= {*ErrorClass, *RULES}
