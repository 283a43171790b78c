"""What the monitor can be configured with."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, SecretStr, model_validator

from services.common.settings import Address, BlobSettings
from services.common.webhooks.signing import key_of


class MonitorSettings(BlobSettings, env_prefix="ROUNDHOUSE_MONITOR_"):
    """Each comes from the environment as `ROUNDHOUSE_MONITOR_` and its name."""

    listen: Address = "127.0.0.1:7004"
    """Address of the gRPC server. Port 0 picks a free one."""

    metrics_listen: Address = "127.0.0.1:7104"
    """Address of the Prometheus endpoint. Port 0 picks a free one."""

    dashboard_listen: Address | Literal[""] = "127.0.0.1:7204"
    """Address of the dashboard, which has no login. Port 0 picks a free one; empty: none."""

    data_dir: Path = Path(".roundhouse/monitor")
    """Folder of everything the monitor keeps on this machine; made if missing."""

    registry_address: Address = "127.0.0.1:7001"
    """Address of the registry."""

    trainer_address: Address = "127.0.0.1:7002"
    """Address of the trainer."""

    inference_address: Address = "127.0.0.1:7003"
    """Address of inference."""

    replica_id: str = Field(default_factory=socket.gethostname, min_length=1, max_length=200)
    """Tells this process from others on the same database; the same again after a restart."""

    alert_interval_s: float = Field(default=15.0, gt=0.0, le=300.0)
    """Rest between two looks at all objectives: short beside the shortest window, 5 min."""

    alert_webhook_url: str = ""
    """Where alerts are posted as CloudEvents, `https://HOST/...`. Empty: nowhere. This machine is
    allowed, also over http, while the monitor itself listens on loopback only."""

    alert_webhook_secret: SecretStr | None = None
    """What alerts are signed with: `whsec_` and base64 of 24 to 64 random bytes."""

    alert_webhook_private: bool = False
    """Whether alerts may go to private addresses and over plain http."""

    alert_chat_url: SecretStr | None = None
    """Incoming webhook of a chat that takes `{"text": ...}`, such as Slack's or Mattermost's; who
    knows it can write there. None: no chat."""

    alert_escalation_file: Path | None = None
    """TOML file that says who is told of pages that nobody acknowledges, and after how long; see
    docs/alerts.md. None: pages go up to nobody."""

    alertmanager_urls: str = ""
    """Alertmanagers that are told of alerts, `http://HOST:PORT`, separated by commas: each of a
    cluster, since they don't pass alerts on to each other. Empty: none."""

    alertmanager_repeat_s: float = Field(default=60.0, gt=0.0, le=300.0)
    """How often they are told when nothing changes; after a restart they know nothing. An alert of
    which they hear nothing five times is over for them."""

    @property
    def alertmanagers(self) -> tuple[str, ...]:
        """Each of `alertmanager_urls`."""
        return tuple(url.strip() for url in self.alertmanager_urls.split(",") if url.strip())

    @model_validator(mode="after")
    def _check_alert_webhook(self) -> Self:
        if bool(self.alert_webhook_url) != (self.alert_webhook_secret is not None):
            raise ValueError("alert_webhook_url and alert_webhook_secret: set both or neither")
        if self.alert_webhook_secret is not None:
            try:
                key_of(self.alert_webhook_secret.get_secret_value())
            except ValueError as error:
                raise ValueError(f"alert_webhook_secret {error}") from None
        return self
