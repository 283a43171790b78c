"""Pins in the registry: what a service relies on stays there, and is let go afterwards."""

from __future__ import annotations

import asyncio
import hashlib
import uuid
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import grpc
import structlog
from roundhouse.registry.v1 import retention_pb2 as pb
from roundhouse.registry.v1 import retention_service_pb2 as service_pb
from roundhouse.registry.v1 import retention_service_pb2_grpc as pb_grpc

from services.common.clock import Clock
from services.common.errors import ServiceError
from services.common.rpc.convert import from_timestamp, to_timestamp
from services.common.rpc.remote import RemoteError, remote_errors

log = structlog.get_logger()

LEASE: Final = timedelta(days=7)
"""How long a pin outlasts a service that says nothing: an outage over a long weekend."""

_RENEW: Final = LEASE / 2
_FRESH: Final = timedelta(minutes=15)
"""Younger pins may be of a resource that is about to be written."""

_CALL: Final = timedelta(minutes=2)
"""How long after its pin a resource is written at most, or the call has failed."""

_LOOK_S: Final = 2.0
_PEER: Final = "registry"
_TIMEOUT_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class Reliance:
    """Something of this service relies on something of the registry.

    Attributes:
        holder: Resource name, such as an endpoint's.
        target: Version or snapshot, by resource name.
    """

    holder: str
    target: str

    @property
    def pin_id(self) -> str:
        """One for each reliance, so that there is one pin, however often it is set."""
        return "p" + hashlib.sha256(f"{self.holder}|{self.target}".encode()).hexdigest()[:40]

    @property
    def project(self) -> str:
        """`projects/{project}` of the holder."""
        return "/".join(self.holder.split("/")[:2])

    @property
    def pin(self) -> str:
        """The pin's resource name."""
        return f"{self.project}/pins/{self.pin_id}"


class RegistryPins:
    """Sets pins before something is relied on, prolongs them, and ends them afterwards.

    Args:
        channel: To the registry.
        collection: Of the holders in their projects, such as `endpoints`.
        now: The clock.
    """

    def __init__(self, channel: grpc.aio.Channel, collection: str, now: Clock) -> None:
        self._stub = pb_grpc.RetentionServiceStub(channel)
        self._collection = collection
        self._now = now
        self._known: dict[Reliance, tuple[str, datetime]] = {}
        self._reserved: dict[Reliance, tuple[str, datetime]] = {}
        self._searched: set[str] = set()

    async def pin(self, reliance: Reliance) -> None:
        """Keep the target from now on; before the resource that relies on it is written.

        Raises:
            RemoteError: The registry refuses, or does not answer.
        """
        self._reserved[reliance] = (await self._set(reliance))[0], self._now()

    async def run(self, wanted: Callable[[], Awaitable[Collection[Reliance]]]) -> None:
        """Bring the pins in line with what is relied on, until cancelled.

        Args:
            wanted: Gives what this service relies on now.
        """
        while True:
            try:
                await self.settle(await wanted())
            except (RemoteError, ServiceError) as error:
                log.warning("pins.postponed", cause=str(error))
            await asyncio.sleep(_LOOK_S)

    async def settle(self, wanted: Collection[Reliance]) -> None:
        """Set what is wanted and isn't pinned for long; end what this service no longer needs.

        Raises:
            RemoteError: The registry does not answer.
        """
        for reliance in wanted:
            known = self._known.get(reliance)
            if known is None or known[1] - self._now() < _RENEW:
                await self._set_if_there(reliance)
        for reliance in set(self._known).difference(wanted):
            etag, _ = self._known.pop(reliance)
            await self._end(reliance.pin, etag)
        for reliance, (etag, since) in list(self._reserved.items()):
            if reliance in wanted:
                del self._reserved[reliance]
            elif self._now() - since > _CALL:
                del self._reserved[reliance]
                await self._end(reliance.pin, etag)
        for project in {reliance.project for reliance in wanted} - self._searched:
            await self._end_strangers(project, {reliance.pin for reliance in wanted})
            self._searched.add(project)

    async def _set_if_there(self, reliance: Reliance) -> None:
        try:
            self._known[reliance] = await self._set(reliance)
        except RemoteError as error:
            if error.code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
                raise
            # Looked at again after the next restart: until then nothing would change.
            log.error("pins.refused", pin=reliance.pin, target=reliance.target, cause=str(error))  # noqa: TRY400 - a person is needed, a trace is not
            self._known[reliance] = ("", self._now() + LEASE)

    async def _set(self, reliance: Reliance) -> tuple[str, datetime]:
        expire_time = self._now() + LEASE
        request = service_pb.CreatePinRequest(
            parent=reliance.project,
            pin_id=reliance.pin_id,
            pin=pb.Pin(
                target=reliance.target,
                holder=reliance.holder,
                expire_time=to_timestamp(expire_time),
            ),
            request_id=str(uuid.uuid4()),
        )
        with remote_errors(_PEER):
            pin = await self._stub.CreatePin(request, timeout=_TIMEOUT_S)
        return pin.etag, expire_time

    async def _end(self, pin: str, etag: str) -> None:
        request = service_pb.DeletePinRequest(name=pin, etag=etag, request_id=str(uuid.uuid4()))
        try:
            with remote_errors(_PEER):
                await self._stub.DeletePin(request, timeout=_TIMEOUT_S)
        except RemoteError as error:
            # Gone already, or set anew for something that is about to be written.
            if error.code not in (grpc.StatusCode.NOT_FOUND, grpc.StatusCode.ABORTED):
                raise

    async def _end_strangers(self, project: str, wanted: Collection[str]) -> None:
        """End pins that an earlier process set and nobody wants any more."""
        token = ""
        ended: list[pb.Pin] = []
        while True:
            request = service_pb.ListPinsRequest(parent=project, page_size=1000, page_token=token)
            with remote_errors(_PEER):
                page = await self._stub.ListPins(request, timeout=_TIMEOUT_S)
            ended += [pin for pin in page.pins if self._is_stale(pin, wanted)]
            token = page.next_page_token
            if not token:
                break
        for pin in ended:
            await self._end(pin.name, pin.etag)

    def _is_stale(self, pin: pb.Pin, wanted: Collection[str]) -> bool:
        if pin.name in wanted or pin.holder.split("/")[2:3] != [self._collection]:
            return False
        is_own = Reliance(pin.holder, pin.target).pin == pin.name
        return is_own and self._now() - from_timestamp(pin.update_time) > _FRESH
