"""Roundhouse's client: what other back ends import.

    from roundhouse.client import Client

    with Client() as client:
        prediction = client.predict("flights", {"carrier": "UA", "distance": 1400})

`AsyncClient` is the same for asyncio. Requests and resources are the contracts' own messages, out
of `roundhouse.<service>.v1`; what a call can fail with is in `roundhouse.client.errors`.
"""

from __future__ import annotations

from roundhouse.client.addresses import SERVICES, Addresses, ServiceName
from roundhouse.client.aio import AsyncClient
from roundhouse.client.bundles import OnProgress, TransferProgress, UnsafePath
from roundhouse.client.errors import CallFailed, InvalidInput, RoundhouseError
from roundhouse.client.policy import Timeouts
from roundhouse.client.predictions import Inputs, Prediction, PredictOptions
from roundhouse.client.sync import Client
from roundhouse.client.transfer import DigestMismatch

__all__ = [
    "Client",
    "AsyncClient",
    "Addresses",
    "Timeouts",
    "ServiceName",
    "SERVICES",
    "Inputs",
    "Prediction",
    "PredictOptions",
    "RoundhouseError",
    "CallFailed",
    "InvalidInput",
    "DigestMismatch",
    "OnProgress",
    "TransferProgress",
    "UnsafePath",
]
