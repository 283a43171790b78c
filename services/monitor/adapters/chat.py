"""Alerts as lines of a chat: the `{"text": ...}` that Slack, Mattermost and others take."""

from __future__ import annotations

import json

from sqlalchemy import Connection

from services.common.store.outbox import Event
from services.common.webhooks.subscriptions import Message


def chat_message(_: Connection, event: Event) -> Message | None:
    """What was done about an alert, in two lines; None where nothing is to be sent."""
    told = {name: _harmless(str(value)) for name, value in event.data.items()}
    if event.data["silent"]:
        return None
    done = event.type.rpartition(".")[2]
    subject = told["resource"].rpartition("/")[2]
    to = f" to {told['receiver']}" if event.data.get("receiver") else ""
    text = f"*{told['severity']} {done}{to}*: {told['error_class']} of {subject}. "
    if done in ("opened", "escalated"):
        asked = f"Ask {told['owner']}. " if told["owner"] else ""
        why = f" {told['reason']}" if to else ""
        text += f"{told['summary']}{why}\n{asked}{told['runbook']}, incident {told['incident'][:8]}"
    else:
        text += f"By {told['actor']}: {told['reason']}\nIncident {told['incident'][:8]}"
    return Message("application/json; charset=utf-8", json.dumps({"text": text}).encode())


def _harmless(text: str) -> str:
    """As words: neither a link nor a call to a whole channel, whatever a job's error says."""
    for sign, word in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ("@", "@\u200b")):
        text = text.replace(sign, word)
    return text
