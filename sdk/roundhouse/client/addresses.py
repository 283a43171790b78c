"""Where the four services are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

ServiceName: TypeAlias = Literal["registry", "trainer", "inference", "monitor"]

SERVICES: tuple[ServiceName, ...] = ("registry", "trainer", "inference", "monitor")


@dataclass(frozen=True, slots=True)
class Addresses:
    """`host:port` of each service; the defaults are those of `roundhouse up`."""

    registry: str = "127.0.0.1:7001"
    trainer: str = "127.0.0.1:7002"
    inference: str = "127.0.0.1:7003"
    monitor: str = "127.0.0.1:7004"

    def of(self, service: ServiceName) -> str:
        """The address of one service."""
        match service:
            case "registry":
                return self.registry
            case "trainer":
                return self.trainer
            case "inference":
                return self.inference
            case "monitor":
                return self.monitor
