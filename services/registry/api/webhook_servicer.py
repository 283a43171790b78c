"""`roundhouse.registry.v1.WebhookService`."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, Final, TypeAlias

import grpc
from google.protobuf.empty_pb2 import Empty
from roundhouse.registry.v1 import webhook_pb2 as pb
from roundhouse.registry.v1 import webhook_service_pb2 as service_pb
from roundhouse.registry.v1 import webhook_service_pb2_grpc as pb_grpc

from services.common.errors import FieldViolation, InvalidRequest
from services.common.rpc.inputs import check_settable, masked, page_query
from services.common.webhooks.signing import key_of
from services.common.webhooks.targets import TargetPolicy
from services.registry.api.convert.webhooks import (
    delivery_to_proto,
    format_from_proto,
    webhook_to_proto,
)
from services.registry.api.inputs import child_name
from services.registry.api.transactions import Transactions
from services.registry.core.names import PROJECT
from services.registry.core.ports import RegistryLists, RegistryTx
from services.registry.core.use_cases import webhooks
from services.registry.core.webhooks import WebhookChange

_Context: TypeAlias = grpc.aio.ServicerContext[Any, Any]  # generic over every method's messages

_CHANGEABLE: Final = ("labels", "url", "type_prefixes", "secret", "paused")
_SETTABLE: Final = (*_CHANGEABLE, "format")


class WebhookServicer(pb_grpc.WebhookServiceServicer):
    """Webhooks over gRPC.

    Args:
        transactions: The registry's.
        policy: Where webhooks may go.
        seal: Gives a secret as it is stored, for a webhook by resource name.
    """

    def __init__(
        self, transactions: Transactions, policy: TargetPolicy, seal: Callable[[str, str], str]
    ) -> None:
        self._transactions = transactions
        self._policy = policy
        self._seal = seal

    async def CreateWebhook(
        self, request: service_pb.CreateWebhookRequest, _: _Context
    ) -> pb.Webhook:
        """The new webhook."""
        wanted = request.webhook
        check_settable(wanted, "webhook", _SETTABLE)
        self._check(wanted, _CHANGEABLE)
        name = child_name(request.parent, "webhooks", request.webhook_id)
        sealed = self._seal(wanted.secret, name)
        return await self._transactions.mutate(
            request,
            pb.Webhook,
            lambda tx: webhook_to_proto(
                webhooks.create_webhook(
                    tx,
                    name,
                    url=wanted.url,
                    type_prefixes=tuple(wanted.type_prefixes),
                    format_=format_from_proto(wanted.format),
                    secret=sealed,
                    paused=wanted.paused,
                    labels=dict(wanted.labels),
                )
            ),
        )

    async def GetWebhook(self, request: service_pb.GetWebhookRequest, _: _Context) -> pb.Webhook:
        """One webhook."""
        return await self._transactions.read(
            lambda tx: webhook_to_proto(webhooks.the_webhook(tx, request.name))
        )

    async def ListWebhooks(
        self, request: service_pb.ListWebhooksRequest, _: _Context
    ) -> service_pb.ListWebhooksResponse:
        """A page of a project's webhooks."""
        query = page_query(request, PROJECT)
        page = await self._transactions.read_lists(lambda _, lists: lists.webhooks(query))
        return service_pb.ListWebhooksResponse(
            webhooks=page.map(webhook_to_proto), next_page_token=page.next_page_token
        )

    async def UpdateWebhook(
        self, request: service_pb.UpdateWebhookRequest, _: _Context
    ) -> pb.Webhook:
        """The webhook, changed."""
        picked = masked(request.update_mask.paths, _CHANGEABLE)
        wanted = request.webhook
        self._check(wanted, picked)
        change = WebhookChange(
            labels=dict(wanted.labels) if "labels" in picked else None,
            url=wanted.url if "url" in picked else None,
            type_prefixes=tuple(wanted.type_prefixes) if "type_prefixes" in picked else None,
            secret=self._seal(wanted.secret, wanted.name) if "secret" in picked else None,
            paused=wanted.paused if "paused" in picked else None,
        )
        return await self._transactions.mutate(
            request,
            pb.Webhook,
            lambda tx: webhook_to_proto(
                webhooks.update_webhook(tx, wanted.name, change, etag=wanted.etag)
            ),
        )

    async def DeleteWebhook(self, request: service_pb.DeleteWebhookRequest, _: _Context) -> Empty:
        """Nothing, once the webhook is forgotten."""

        def delete(tx: RegistryTx) -> Empty:
            webhooks.delete_webhook(tx, request.name, etag=request.etag)
            return Empty()

        return await self._transactions.mutate(request, Empty, delete)

    async def ListWebhookDeliveries(
        self, request: service_pb.ListWebhookDeliveriesRequest, _: _Context
    ) -> service_pb.ListWebhookDeliveriesResponse:
        """A page of what became of a webhook's events."""
        query = page_query(request)

        def listed(
            tx: RegistryTx, lists: RegistryLists
        ) -> service_pb.ListWebhookDeliveriesResponse:
            webhook = webhooks.the_webhook(tx, request.parent, "parent")
            page = lists.webhook_deliveries(webhook, query)
            return service_pb.ListWebhookDeliveriesResponse(
                deliveries=page.map(delivery_to_proto), next_page_token=page.next_page_token
            )

        return await self._transactions.read_lists(listed)

    async def RedeliverWebhook(
        self, request: service_pb.RedeliverWebhookRequest, _: _Context
    ) -> pb.WebhookDelivery:
        """The delivery, to be sent again."""
        return await self._transactions.mutate(
            request,
            pb.WebhookDelivery,
            lambda tx: delivery_to_proto(webhooks.redeliver(tx, request.name)),
        )

    def _check(self, webhook: pb.Webhook, fields: Collection[str]) -> None:
        """Pass only a URL that may be posted to and a secret that can sign.

        Raises:
            InvalidRequest: Names what is wrong, without the secret.
        """
        faults = []
        if "url" in fields and (fault := self._policy.url_fault(webhook.url)):
            faults.append(FieldViolation("webhook.url", fault))
        if "secret" in fields:
            try:
                key_of(webhook.secret)
            except ValueError as error:
                faults.append(FieldViolation("webhook.secret", str(error)))
        if faults:
            raise InvalidRequest(faults)
