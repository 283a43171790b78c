"""Where deliveries may go: never into the network behind the service, unless that is allowed."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, TypeAlias
from urllib.parse import urlsplit

from aiohttp import ThreadedResolver
from aiohttp.abc import AbstractResolver, ResolveResult

_Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address

_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")  # RFC 6052
_LOCALHOST: Final = "localhost"


@dataclass(frozen=True, slots=True)
class TargetPolicy:
    """Where deliveries may go beside public addresses over https.

    Attributes:
        loopback: To this machine, also over http.
        private: To any address, also over http.
    """

    loopback: bool
    private: bool = False

    def url_fault(self, url: str) -> str:
        """What is wrong with `url`, and what would be right; empty if nothing is.

        A host's name is not resolved here but at each delivery.
        """
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            return "is no URL"
        host = parts.hostname
        if parts.scheme not in ("https", "http") or not host or port == 0:
            return "must be https://HOST/..."
        if parts.username is not None or parts.password is not None or parts.fragment:
            return "must have neither user, password nor fragment"
        address = _literal(host)
        is_loopback = host == _LOCALHOST if address is None else address.is_loopback
        if parts.scheme == "http" and not self.private and not (is_loopback and self.loopback):
            return "must be https" + (", or http to this machine" if self.loopback else "")
        return "" if address is None else self.address_fault(address)

    def address_fault(self, address: _Address) -> str:
        """Why nothing may be sent to `address`; empty if it may."""
        for each in _meant(address):
            if each.is_loopback or each.is_unspecified:
                if not (self.loopback or self.private):
                    return f"{address} is this machine"
            elif each.is_multicast:
                return f"{address} is no single machine"
            elif not each.is_global and not self.private:
                return f"{address} is a private address"
        return ""


class TargetRefused(OSError):
    """A host's name leads to addresses that are not allowed."""


class GuardedResolver(AbstractResolver):
    """Gives only allowed addresses, and what it gives is what is connected to.

    So a name that leads elsewhere the next time it is asked for gains nothing.

    Args:
        policy: Which are allowed.
    """

    def __init__(self, policy: TargetPolicy) -> None:
        self._policy = policy
        self._resolver = ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """The allowed addresses of `host`.

        Raises:
            TargetRefused: There are others only.
        """
        found = await self._resolver.resolve(host, port, family)
        faults = [self._policy.address_fault(_bare(each["host"])) for each in found]
        allowed = [each for each, fault in zip(found, faults, strict=True) if not fault]
        if not allowed:
            raise TargetRefused("; ".join(sorted(set(faults))) or "it has no address")
        return allowed

    async def close(self) -> None:
        """Nothing is held."""
        await self._resolver.close()


def _literal(host: str) -> _Address | None:
    try:
        return _bare(host)
    except ValueError:
        return None


def _bare(host: str) -> _Address:
    return ipaddress.ip_address(host.partition("%")[0])


def _meant(address: _Address) -> Iterator[_Address]:
    """The address, and the IPv4 ones that a gateway would make of it."""
    yield address
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            yield address.ipv4_mapped
        if address.sixtofour is not None:
            yield address.sixtofour
        if address.teredo is not None:
            yield from address.teredo
        if address in _NAT64:
            yield ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
