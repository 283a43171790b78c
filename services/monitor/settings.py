"""What the monitor can be configured with."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Literal

from pydantic import Field

from services.common.settings import Address, BlobSettings


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
