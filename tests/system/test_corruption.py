"""The short form of `make soak NAME=corruption`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.damage import Damage
from tests.support.seaweedfs import S3Server
from tests.system.corruption import Place, run_corruption

pytestmark = pytest.mark.real


async def test_nobody_gets_what_was_damaged_in_a_directory(tmp_path: Path) -> None:
    await prove(tmp_path, Place(f"file://{tmp_path / 'blobs'}"))


async def test_nobody_gets_what_was_damaged_on_s3(
    tmp_path: Path, s3_url: str, s3_server: S3Server
) -> None:
    await prove(tmp_path, Place(s3_url, s3_server.connection))


async def prove(root: Path, place: Place) -> None:
    outcome = await run_corruption(root, place, versions=2, snapshots=1, records=False)
    assert outcome.violations == []
    for how in Damage:
        counts = outcome.tallies[how].counts
        # Two versions of five files, two of which they share, and a snapshot of one.
        assert counts["objects"] == 9
        assert counts["reads refused"] == counts["named exactly"] + 1 == 11
        assert counts["loads refused"] == counts["restored"] == 10
        assert counts["wrong files"] == counts["predictions"] == 0
