"""What is wrong with webhooks."""

from __future__ import annotations

from services.common.errors import AlreadyExists, NotFound, ResourceExhausted


class WebhookNotFound(NotFound):
    """No webhook has this name."""

    reason = "WEBHOOK_NOT_FOUND"

    def __init__(self, name: str) -> None:
        super().__init__(f"There is no webhook {name!r}.", name=name)


class WebhookExists(AlreadyExists):
    """The webhook id is taken."""

    reason = "WEBHOOK_EXISTS"

    def __init__(self, name: str) -> None:
        super().__init__(f"There is a webhook {name!r} already.", name=name)


class DeliveryNotFound(NotFound):
    """The webhook's record has no such event."""

    reason = "DELIVERY_NOT_FOUND"

    def __init__(self, name: str) -> None:
        super().__init__(
            f"{name!r} is not on record: it was never tried, or was delivered long ago.", name=name
        )


class TooManyWebhooks(ResourceExhausted):
    """The project has as many webhooks as it may."""

    reason = "TOO_MANY_WEBHOOKS"

    def __init__(self, project: str, limit: int) -> None:
        super().__init__(
            f"{project!r} has {limit} webhooks, and no more are served; delete one, or let one "
            "receiver pass events on.",
            subject=project,
            name=project,
            limit=str(limit),
        )
