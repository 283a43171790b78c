"""The escalation policy as a file: who can be told, and after how long they are."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Final, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError
from pydantic import model_validator as validated

from services.common.settings import InvalidSettings
from services.common.webhooks.signing import key_of
from services.common.webhooks.subscriptions import Subscription
from services.common.webhooks.targets import TargetPolicy
from services.monitor.adapters.alerting import escalated_chat, escalated_webhook
from services.monitor.core.alerts.escalation import Escalation, Level

_LONGEST_S: Final = 30 * 86_400

_Id = Annotated[str, StringConstraints(pattern=r"^[a-z]([a-z0-9-]{0,30}[a-z0-9])?$")]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class _Receiver(_Part):
    """A signed webhook, or a chat. Secrets stand in files of their own, never in the policy."""

    webhook_url: str = ""
    secret_file: Path | None = None
    chat_url_file: Path | None = None

    @validated(mode="after")
    def _one_way(self) -> Self:
        if bool(self.webhook_url) == (self.chat_url_file is not None):
            raise ValueError("needs either webhook_url with secret_file, or chat_url_file")
        if bool(self.webhook_url) != (self.secret_file is not None):
            raise ValueError("webhook_url and secret_file: set both or neither")
        return self


class _Level(_Part):
    receiver: str
    after_s: float = Field(gt=0, le=_LONGEST_S)
    error_classes: list[str] = []


class _Policy(_Part):
    receivers: dict[_Id, _Receiver] = Field(min_length=1, max_length=16)
    levels: list[_Level] = Field(default=[], max_length=16)

    @validated(mode="after")
    def _known(self) -> Self:
        told = [(level.receiver, *sorted(level.error_classes)) for level in self.levels]
        unknown = sorted({level.receiver for level in self.levels} - self.receivers.keys())
        if unknown:
            raise ValueError(f"levels name receivers that there are not: {', '.join(unknown)}")
        if len(set(told)) < len(told):
            raise ValueError("two levels tell one receiver of the same error classes")
        return self


@dataclass(frozen=True, slots=True)
class EscalationSetup:
    """The policy, and how its receivers are reached."""

    escalation: Escalation
    subscriptions: tuple[Subscription, ...]


def read_escalation(path: Path, targets: TargetPolicy) -> EscalationSetup:
    """The policy in a TOML file.

    Args:
        path: The file; those that it names stand relative to its folder.
        targets: Where may be posted to.

    Raises:
        InvalidSettings: It can't be read or used; the sentence says which part and why.
    """
    try:
        policy = _Policy.model_validate(tomllib.loads(path.read_text()))
        subscriptions = tuple(
            _subscription(name, each, path.parent, targets)
            for name, each in policy.receivers.items()
        )
    except ValidationError as error:
        faults = (f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors())
        raise _unusable(path, "; ".join(faults)) from None
    except (OSError, ValueError) as error:
        raise _unusable(path, str(error)) from None
    levels = tuple(
        Level(timedelta(seconds=each.after_s), each.receiver, frozenset(each.error_classes))
        for each in policy.levels
    )
    return EscalationSetup(Escalation(tuple(policy.receivers), levels), subscriptions)


def _unusable(path: Path, why: str) -> InvalidSettings:
    return InvalidSettings(f"ROUNDHOUSE_MONITOR_ALERT_ESCALATION_FILE {path}: {why}")


def _subscription(
    name: str, receiver: _Receiver, folder: Path, targets: TargetPolicy
) -> Subscription:
    """How a receiver is reached.

    Raises:
        OSError: A file of a secret can't be read.
        ValueError: A secret can't sign, or a URL may not be posted to; tells no secret.
    """
    if receiver.chat_url_file is not None:
        url = (folder / receiver.chat_url_file).read_text().strip()
        _check(name, targets, url)
        return escalated_chat(name, url)
    assert receiver.secret_file is not None
    secret = (folder / receiver.secret_file).read_text().strip()
    key_of(secret)
    _check(name, targets, receiver.webhook_url)
    return escalated_webhook(name, receiver.webhook_url, secret)


def _check(name: str, targets: TargetPolicy, url: str) -> None:
    if fault := targets.url_fault(url):
        raise ValueError(f"the URL of {name} {fault}")
