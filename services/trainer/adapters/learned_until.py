"""Until when the versions that a job goes on from have learned."""

from __future__ import annotations

import json

from services.trainer.adapters.registry_client import RegistryClient
from services.trainer.core.failures import UnusableParent
from services.trainer.core.parents import Mode
from services.trainer.core.spec import JobSpec

TRAINING_FILE = "training.json"
LEARNED_UNTIL = "learned_until_us"
"""Of that file: event time of the newest row that a version was trained on, in microseconds."""


async def learned_until(spec: JobSpec, registry: RegistryClient) -> int | None:
    """The newest event time that the parent or one that it descends from has learned from.

    Returns:
        Microseconds since the epoch; None but for `Mode.INCREMENTAL`, which learns what is later.

    Raises:
        UnusableParent: The parent does not say.
        DependencyAway: The registry does not answer.
    """
    if spec.mode is not Mode.INCREMENTAL:
        return None
    times: list[int] = []
    for version in await registry.line_of(spec.parent_version):
        said = None
        if TRAINING_FILE in {file.path for file in version.files}:
            said = json.loads(await registry.artifact(version, TRAINING_FILE)).get(LEARNED_UNTIL)
        if said is not None:
            times.append(said)
        elif version.name == spec.parent_version:
            raise UnusableParent(
                f"parent_version {version.name} does not say until when it has learned, so that "
                "its rows can't be told from new ones; use MODE_WARM_START with new rows alone"
            )
    return max(times)
