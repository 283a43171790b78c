"""One attempt to deliver, over HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Final

import aiohttp

from services.common.clock import Clock, utc_now
from services.common.webhooks.targets import GuardedResolver, TargetPolicy

_LONGEST_ERROR: Final = 500
_ASKS_TO_WAIT: Final = frozenset({HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE})


@dataclass(frozen=True, slots=True)
class Answer:
    """What a receiver said.

    Attributes:
        status_code: Of HTTP; 0 if there was no answer.
        error: Why it does not count as delivered; empty if it does.
        retry_after_s: How long it asks to be left alone; 0 if it doesn't.
    """

    status_code: int
    error: str = ""
    retry_after_s: float = 0.0

    @property
    def is_gone(self) -> bool:
        """Whether nothing is ever to be sent there again."""
        return self.status_code == HTTPStatus.GONE


class HttpSender:
    """Posts messages. Follows no redirect and reads no body.

    Args:
        session: With the guarded resolver.
        policy: Where messages may go.
        timeout_s: Of a whole attempt.
        now: The clock.
    """

    def __init__(
        self,
        session: aiohttp.ClientSession,
        policy: TargetPolicy,
        timeout_s: float,
        now: Clock = utc_now,
    ) -> None:
        self._session = session
        self._policy = policy
        self._timeout_s = timeout_s
        self._now = now

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """What the receiver said; never raises for what lies with it or with the way there."""
        fault = self._policy.url_fault(url)  # addresses are not resolved, and rules may change
        if fault:
            return Answer(0, f"refused: the URL {fault}"[:_LONGEST_ERROR])
        try:
            async with self._session.post(
                url, data=body, headers=headers, allow_redirects=False
            ) as response:
                asked = response.headers.get("Retry-After", "")
                return _judged(response.status, retry_after_s(asked, self._now()))
        except TimeoutError:
            return Answer(0, f"no answer within {self._timeout_s:g} s")
        except aiohttp.ClientConnectorError as error:
            return Answer(0, f"{type(error.os_error).__name__}: {error.os_error}"[:_LONGEST_ERROR])
        except (aiohttp.ClientError, OSError, ValueError) as error:
            # Their texts may hold the URL, which may hold a token.
            return Answer(0, f"no HTTP answer ({type(error).__name__})")


def retry_after_s(header: str, now: datetime) -> float:
    """Seconds that `Retry-After` asks for, in either of its forms; 0 for what it may not be.

    RFC 9110, section 10.2.3.
    """
    if header.isascii() and header.isdigit():
        return float(header[:9])
    try:
        moment = parsedate_to_datetime(header)
    except ValueError:
        return 0.0
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - now).total_seconds())


def _judged(status: int, asked_s: float) -> Answer:
    match status // 100:
        case 2:
            return Answer(status)
        case 3:
            return Answer(status, f"answered {status}: redirects are not followed")
        case _:
            asked_s = asked_s if status in _ASKS_TO_WAIT else 0.0
            return Answer(status, f"answered {status}", asked_s)


@asynccontextmanager
async def http_sender(policy: TargetPolicy, timeout_s: float) -> AsyncIterator[HttpSender]:
    """A sender, until the block ends.

    Args:
        policy: Where messages may go.
        timeout_s: Of a whole attempt.
    """
    connector = aiohttp.TCPConnector(
        resolver=GuardedResolver(policy),
        use_dns_cache=False,
        limit_per_host=8,
        # What is left of an answer must not be taken for the answer to the next message.
        force_close=True,
    )
    async with aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=timeout_s),
        auto_decompress=False,
        headers={"User-Agent": "roundhouse-webhooks/1"},
    ) as session:
        yield HttpSender(session, policy, timeout_s)
