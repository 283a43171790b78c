"""The registry and its S3, killed; `make soak NAME=registry-kills` does it two hundred times."""

from __future__ import annotations

import pytest

from tests.system.registry_evidence import MODEL, Evidence, State
from tests.system.registry_kills import run_killed_registry

ONE, OTHER = (f"sha256:{digit * 64}" for digit in "ab")
VERSION = f"{MODEL}/versions/1"


def evidence() -> Evidence:
    """A round after which all is well."""
    return Evidence(
        begun=[VERSION],
        committed={VERSION: {"model.onnx": ONE}},
        moves=["move 1"],
        listed={VERSION: State.STATE_READY},
        needed={ONE},
        readable={ONE},
        listed_moves=["move 1"],
        live=VERSION,
        stored={ONE},
    )


def test_a_round_that_went_well_violates_nothing():
    assert evidence().violations() == []


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        (lambda seen: seen.readable.clear(), "can't be read"),
        (lambda seen: seen.listed.clear(), "was committed and is gone"),
        (lambda seen: seen.listed.update({f"{MODEL}/versions/2": State.STATE_READY}), "second"),
        (lambda seen: seen.begun.append(VERSION), "given to 2 requests"),
        (lambda seen: seen.listed_moves.append("move 1"), "happened 2 times"),
        (lambda seen: seen.listed_moves.clear(), "not on record"),
        (lambda seen: seen.listed.update({VERSION: State.STATE_DELETED}), "is live and not READY"),
        (lambda seen: seen.stored.add(OTHER), "nothing needs it"),
        (lambda seen: seen.leftovers.append("staged/x"), "left behind"),
    ],
)
def test_a_planted_fault_is_found(fault, told):
    seen = evidence()
    fault(seen)
    assert any(told in violation for violation in seen.violations())


@pytest.mark.real
@pytest.mark.timeout(300)
async def test_kills_of_the_registry_and_its_s3_lose_double_and_leak_nothing(
    tmp_path, s3_server, sqlite_url
):
    result = await run_killed_registry(tmp_path, s3_server, sqlite_url, seed=7, kills=3)
    assert result.violations == []
    assert result.kills.total() == 3
