"""What every answer of the dashboard is wrapped in: its headers, and refusals in words."""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

import grpc
from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from services.common.errors import InvalidArgument, NotFound, ServiceError
from services.common.rpc.remote import RemoteError, as_own_failure
from services.common.settings import Address, is_loopback

HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    # Files are asked for again by their ETag, so that an upgrade shows at once.
    "Cache-Control": "no-cache",
}


async def add_headers(_: web.Request, response: web.StreamResponse) -> None:
    """Add the headers to a response that is about to begin."""
    response.headers.update(HEADERS)


def own_host_alone(listen: Address) -> Middleware:
    """Refuses names of other hosts, where the server is this machine's alone.

    Any page in the browser can have its own name resolve to loopback (DNS rebinding), and would
    then read what is served there as its own; the name that it came by gives it away.

    Args:
        listen: Where the server listens; one that others reach may be called anything.
    """
    guarded = is_loopback(listen)

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        if guarded and not is_loopback(request.host):
            return _refusal(
                HTTPStatus.MISDIRECTED_REQUEST,
                f"This is not {request.host!r}: ask for 127.0.0.1 or localhost.",
            )
        return await handler(request)

    return check


@web.middleware
async def refusals_in_words(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answers a failure that a person can act on with its sentence, as JSON."""
    try:
        return await handler(request)
    except ServiceError as error:
        return _refusal(_status(error), str(error), error.reason)
    except RemoteError as error:
        failure = as_own_failure(error)
        if failure is None and error.code is grpc.StatusCode.NOT_FOUND:
            return _refusal(HTTPStatus.NOT_FOUND, error.message, error.reason)
        if failure is None:
            raise
        return _refusal(_status(failure), str(failure), failure.reason)


def _status(error: ServiceError) -> HTTPStatus:
    match error:
        case NotFound():
            return HTTPStatus.NOT_FOUND
        case InvalidArgument():
            return HTTPStatus.BAD_REQUEST
        case _:
            return HTTPStatus.SERVICE_UNAVAILABLE


def _refusal(status: HTTPStatus, message: str, reason: str = "") -> web.Response:
    return web.json_response({"error": message, "reason": reason}, status=status)
