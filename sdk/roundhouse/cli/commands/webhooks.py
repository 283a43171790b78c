"""`roundhouse webhooks`: who is told of the registry's events over HTTP."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from google.protobuf.field_mask_pb2 import FieldMask
from roundhouse.cli import names
from roundhouse.cli.output import ERR, OUT, as_dict, print_json, print_table, state_name, when
from roundhouse.cli.paging import every
from roundhouse.cli.session import Json, session_of
from roundhouse.client.webhooks import new_secret
from roundhouse.registry.v1.webhook_pb2 import Webhook, WebhookDelivery
from roundhouse.registry.v1.webhook_service_pb2 import (
    CreateWebhookRequest,
    DeleteWebhookRequest,
    ListWebhookDeliveriesRequest,
    ListWebhooksRequest,
    RedeliverWebhookRequest,
    UpdateWebhookRequest,
)

app = typer.Typer(help="Send the registry's events to other systems.", no_args_is_help=True)


class Format(StrEnum):
    """What is sent."""

    CLOUDEVENTS = "cloudevents"
    OPENLINEAGE = "openlineage"


@app.command()
def create(
    context: typer.Context,
    webhook: Annotated[str, typer.Argument(help="Id of the new webhook.")],
    url: Annotated[str, typer.Option(help="Where messages are posted to.")],
    event: Annotated[
        list[str] | None,
        typer.Option(help="Prefix of wanted event types; may be repeated. None: all."),
    ] = None,
    format_: Annotated[Format, typer.Option("--format", help="What is sent.")] = Format.CLOUDEVENTS,
    secret_file: Annotated[
        Path | None,
        typer.Option(help="File with the secret; without it one is made and printed once."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Send events from now on to a URL."""
    session = session_of(context)
    secret = new_secret() if secret_file is None else secret_file.read_text().strip()
    with session.client() as client:
        made = client.webhooks.CreateWebhook(
            CreateWebhookRequest(
                parent=names.parent(session.project),
                webhook_id=webhook,
                webhook=Webhook(
                    url=url,
                    type_prefixes=event or [],
                    format=Webhook.Format.Value(f"FORMAT_{format_.upper()}"),
                    secret=secret,
                ),
            )
        )
    told = {} if secret_file else {"secret": secret}
    if as_json:
        print_json({**as_dict(made), **told})
        return
    OUT.print(f"{names.last(made.name)} sends to {made.url}", markup=False)
    if told:
        ERR.print("Its secret, which is never shown again:", markup=False)
        OUT.print(secret, markup=False)


@app.command("list")
def list_webhooks(context: typer.Context, as_json: Json = False) -> None:
    """List webhooks."""
    session = session_of(context)
    request = ListWebhooksRequest(parent=names.parent(session.project))
    with session.client() as client:
        found = list(every(client.webhooks.ListWebhooks, request, "webhooks"))
    if as_json:
        print_json([as_dict(each) for each in found])
        return
    print_table(
        ("webhook", "url", "events", "format", "paused", "created"),
        [
            (
                names.last(each.name),
                each.url,
                ", ".join(each.type_prefixes) or "all",
                Webhook.Format.Name(each.format).removeprefix("FORMAT_").lower(),
                each.paused,
                when(each.create_time),
            )
            for each in found
        ],
        title="Webhooks",
    )


@app.command()
def deliveries(
    context: typer.Context,
    webhook: Annotated[str, typer.Argument(help="Webhook's id or resource name.")],
    dead: Annotated[bool, typer.Option("--dead", help="Only dead letters.")] = False,
    as_json: Json = False,
) -> None:
    """List what became of a webhook's events, newest first."""
    session = session_of(context)
    request = ListWebhookDeliveriesRequest(
        parent=names.full(session.project, "webhooks", webhook),
        filter="state = DEAD" if dead else "",
    )
    with session.client() as client:
        found = list(every(client.webhooks.ListWebhookDeliveries, request, "deliveries"))
    if as_json:
        print_json([as_dict(each) for each in found])
        return
    print_table(
        ("event", "type", "subject", "state", "attempts", "status", "error", "next"),
        [
            (
                names.last(each.name),
                each.event_type.removeprefix("roundhouse."),
                each.subject,
                state_name(WebhookDelivery.State.Name(each.state)).lower(),
                each.attempts,
                each.status_code,
                each.error,
                when(each.next_time),
            )
            for each in found
        ],
        title="Deliveries",
    )


@app.command()
def redeliver(
    context: typer.Context,
    webhook: Annotated[str, typer.Argument(help="Webhook's id or resource name.")],
    event: Annotated[str, typer.Argument(help="Id of the event, as deliveries lists it.")],
    as_json: Json = False,
) -> None:
    """Send an event again at once."""
    session = session_of(context)
    name = f"{names.full(session.project, 'webhooks', webhook)}/deliveries/{event}"
    with session.client() as client:
        found = client.webhooks.RedeliverWebhook(RedeliverWebhookRequest(name=name))
    if as_json:
        print_json(as_dict(found))
    else:
        OUT.print(f"{event} will be sent again", markup=False)


@app.command()
def pause(
    context: typer.Context,
    webhook: Annotated[str, typer.Argument(help="Webhook's id or resource name.")],
    resume: Annotated[bool, typer.Option("--resume", help="Go on, with what was missed.")] = False,
    as_json: Json = False,
) -> None:
    """Send nothing for now; what happens meanwhile is sent afterwards."""
    session = session_of(context)
    changed = Webhook(name=names.full(session.project, "webhooks", webhook), paused=not resume)
    with session.client() as client:
        found = client.webhooks.UpdateWebhook(
            UpdateWebhookRequest(webhook=changed, update_mask=FieldMask(paths=["paused"]))
        )
    if as_json:
        print_json(as_dict(found))
    else:
        OUT.print(f"{names.last(found.name)} {'is paused' if found.paused else 'goes on'}")


@app.command()
def delete(
    context: typer.Context,
    webhook: Annotated[str, typer.Argument(help="Webhook's id or resource name.")],
) -> None:
    """Delete a webhook with the record of its deliveries."""
    session = session_of(context)
    with session.client() as client:
        client.webhooks.DeleteWebhook(
            DeleteWebhookRequest(name=names.full(session.project, "webhooks", webhook))
        )
    OUT.print(f"{names.last(webhook)} is deleted", markup=False)
