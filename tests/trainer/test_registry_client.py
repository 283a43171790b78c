"""What the trainer sends to the registry and fetches from it, over connections that break."""

from __future__ import annotations

import uuid
from pathlib import Path

from services.common.rpc.client import connect
from services.trainer.adapters.registry_client import Registration, RegistryClient
from tests.support.bundles import tiny_files
from tests.support.calls import PROJECT
from tests.support.cutting_proxy import cutting_proxy
from tests.support.registry_api import digest_of, manifest_of, running_registry

MIB = 1 << 20
ROWS = b"".join(b"%07d\n" % row for row in range(5 * MIB // 8))
FILES = {**tiny_files(), "rows.csv": ROWS}


async def test_a_broken_registration_and_a_broken_download_go_on(tmp_path: Path) -> None:
    manifest = manifest_of(FILES)
    async with running_registry(tmp_path) as caller:
        registration = Registration(
            model=await caller.create_model(),
            training_job=f"{PROJECT}/trainingJobs/first",
            snapshot=await caller.sealed_snapshot(),
            parent_version="",
            labels={"team": "ops"},
            files={**FILES, "manifest.json": manifest},
            manifest_digest=digest_of(manifest),
        )
        async with (
            cutting_proxy(caller.address, [3 * MIB, 3 * MIB, 3 * MIB]) as address,
            connect(address) as channel,
        ):
            registry = RegistryClient(channel, patience_s=20.0)
            name = await registry.register(registration, uuid.uuid4())
            version = await registry.version(name)
            assert await registry.artifact(version, "rows.csv") == ROWS
            snapshot = await registry.snapshot(registration.snapshot)
            for path in snapshot.files:
                assert await registry.snapshot_file(snapshot, path)
