"""What calls to any service need in a test, and how one is refused."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
from google.protobuf.message import Message
from google.rpc import error_details_pb2
from google.rpc.status_pb2 import Status

PROJECT = "projects/default"
TIMEOUT_S = 30.0


def request_id() -> str:
    """A new request id."""
    return str(uuid.uuid4())


@dataclass
class Refusal:
    """What a failed call answered."""

    code: grpc.StatusCode = grpc.StatusCode.OK
    reason: str = ""
    domain: str = ""
    metadata: dict[str, str] = field(default_factory=dict)
    details: dict[str, Any] = field(default_factory=dict)

    def fields(self) -> list[str]:
        """The fields that BadRequest names."""
        violations = self.details["BadRequest"].field_violations
        return [violation.field for violation in violations]


@contextmanager
def refused() -> Iterator[Refusal]:
    """Expects that the block's call fails, and tells how."""
    refusal = Refusal()
    try:
        yield refusal
    except grpc.aio.AioRpcError as error:
        refusal.code = error.code()
        trailers = dict(error.trailing_metadata() or ())
        status = Status.FromString(trailers["grpc-status-details-bin"])
        for packed in status.details:
            name = packed.TypeName().rpartition(".")[2]
            detail: Message = getattr(error_details_pb2, name)()
            packed.Unpack(detail)
            refusal.details[name] = detail
        info = refusal.details["ErrorInfo"]
        refusal.reason, refusal.domain = info.reason, info.domain
        refusal.metadata = dict(info.metadata)
    else:
        raise AssertionError("the call passed")
