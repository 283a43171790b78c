from __future__ import annotations

import pytest
from roundhouse.common.v1 import errors_pb2 as common_pb
from roundhouse.registry.v1 import errors_pb2 as pb

from services.common.blobs import errors as blob_errors
from services.common.errors import ServiceError
from services.registry.core import errors

_PREFIX = "ERROR_REASON_"
_OWN = {name.removeprefix(_PREFIX) for name in pb.ErrorReason.DESCRIPTOR.values_by_name} - {
    "UNSPECIFIED"
}
_COMMON = {name.removeprefix(_PREFIX) for name in common_pb.ErrorReason.DESCRIPTOR.values_by_name}
_CLASSES = [getattr(errors, name) for name in errors.__all__]


def test_every_reason_of_the_contract_is_raised_by_exactly_one_class() -> None:
    reasons = [error.reason for error in _CLASSES]
    assert len(set(reasons)) == len(reasons)
    assert set(reasons) - _COMMON == _OWN


@pytest.mark.parametrize(
    "error", [blob_errors.DigestMismatch, blob_errors.OffsetOutOfRange], ids=lambda e: e.__name__
)
def test_what_the_blob_store_refuses_towards_callers_is_in_the_contract(
    error: type[ServiceError],
) -> None:
    assert error.reason in _COMMON | _OWN
