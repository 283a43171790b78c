"""Runs the suites over a served probe on both servers."""

from __future__ import annotations

import pytest

from tests.support import probe


@pytest.fixture(params=["grpc.aio", "native"])
def both_servers(request, monkeypatch):
    """Which server answers the probe's unary method."""
    if request.param == "native":
        monkeypatch.setattr(probe, "NATIVE_METHODS", (f"/{probe.SERVICE}/Ask",))
