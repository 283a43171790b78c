"""The fuzzer, for seconds instead of minutes."""

from __future__ import annotations

import random

import pytest
from tritonclient.grpc import service_pb2 as pb

from tests.system.fuzzing import fuzz
from tests.system.malformed import good_request, malformed_connection, malformed_message

SECONDS = 7.0


@pytest.mark.real
@pytest.mark.parametrize("server", ["native", "grpcio"])
async def test_what_is_malformed_gets_a_clear_error_and_harms_nobody(tmp_path, server):
    seed = random.randrange(10**6)
    result = await fuzz(tmp_path, server, SECONDS, seed, max_growth_bytes=1 << 30)
    assert result.violations == []
    assert result.good > 2
    assert sum(result.messages.values()) > 50
    assert result.outcomes["INVALID_TENSOR"] > 10


def test_every_kind_of_fault_is_sent_and_few_are_none():
    dice = random.Random(1)
    messages = [malformed_message("delays", dice) for _ in range(3000)]
    connections = [malformed_connection("delays", dice) for _ in range(500)]
    assert len({kind for kind, _ in messages}) == 14
    assert len({kind for kind, _ in connections}) == 11
    good = {good_request("delays", rows).SerializeToString() for rows in (1, 3)}
    assert sum(data in good for _, data in messages) < 100
    assert pb.ModelInferRequest.FromString(next(iter(good))).model_name == "delays"
