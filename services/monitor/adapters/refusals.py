"""Tells a peer's refusal for good from a failure that passes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import grpc

from services.common.rpc.remote import RemoteError
from services.monitor.core.loop.ports import StepRefused

_FINAL: Final = frozenset(
    {
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.NOT_FOUND,
        grpc.StatusCode.ALREADY_EXISTS,
        grpc.StatusCode.FAILED_PRECONDITION,
        grpc.StatusCode.PERMISSION_DENIED,
        grpc.StatusCode.DATA_LOSS,
    }
)
"""Codes after which the same request can't succeed; all others are tried again."""


@contextmanager
def refusals(peer: str) -> Iterator[None]:
    """A final answer of `peer` inside the block is raised as `StepRefused`."""
    try:
        yield
    except RemoteError as error:
        if error.code not in _FINAL:
            raise
        raise StepRefused(
            f"The {peer} refused with {error.reason or error.code.name}: {error.message}"
        ) from error
