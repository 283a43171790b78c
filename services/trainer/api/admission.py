"""What is looked at before a job is taken: its spec, and what the registry must keep for it."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from services.common.errors import FieldViolation
from services.trainer.core.abilities import Ability, ability_faults
from services.trainer.core.acceleration_faults import acceleration_faults
from services.trainer.core.errors import InvalidSpec, UnusableSnapshot
from services.trainer.core.mode_faults import mode_faults
from services.trainer.core.parallelism_faults import parallelism_faults
from services.trainer.core.parameters import Rules
from services.trainer.core.parents import Mode
from services.trainer.core.ports import Snapshots
from services.trainer.core.privacy_faults import privacy_faults
from services.trainer.core.spec import JobSpec
from services.trainer.core.text_faults import text_faults
from services.trainer.core.use_cases.submission import NewJob
from services.trainer.core.validation import ROOT, SNAPSHOT, schema_faults, spec_faults


class Admission:
    """Lets jobs in that can be trained.

    Args:
        snapshots: To check specs against.
        recipes: The parameters of each algorithm there is.
        modes: What jobs may use each of them for.
        abilities: What each of them can be trained for.
        encoders: Tokens that each pretrained encoder can read, by name.
        gpus: That there are for workers.
    """

    def __init__(
        self,
        snapshots: Snapshots,
        *,
        recipes: Mapping[str, Rules],
        modes: Mapping[str, Collection[Mode]],
        abilities: Mapping[str, Ability],
        encoders: Mapping[str, int],
        gpus: int = 0,
    ) -> None:
        self._snapshots = snapshots
        self._recipes = recipes
        self._modes = modes
        self._abilities = abilities
        self._encoders = encoders
        self._gpus = gpus

    async def check(self, spec: JobSpec) -> None:
        """Pass a spec that can be trained on its snapshot.

        Raises:
            InvalidSpec: With every fault.
            SnapshotHeld: A privacy hold is on the snapshot.
            Unavailable: The snapshot can't be asked about at present.
        """
        able = {k: each for k, each in self._abilities.items() if spec.mode in self._modes[k]}
        faults = [
            *spec_faults(spec, self._recipes),
            *ability_faults(spec, self._recipes, self._abilities),
            *mode_faults(spec, self._modes, ROOT),
            *privacy_faults(spec, self._abilities, ROOT),
            *parallelism_faults(spec, self._abilities, ROOT),
            *acceleration_faults(spec, self._abilities, self._gpus, ROOT),
            *text_faults(spec, able, self._encoders),
        ]
        if SNAPSHOT.matches(spec.snapshot):
            try:
                columns = await self._snapshots.columns(spec.snapshot)
            except UnusableSnapshot as error:
                faults.append(FieldViolation(f"{ROOT}.snapshot", str(error)))
            else:
                faults += schema_faults(spec, columns)
        if faults:
            raise InvalidSpec(faults)

    async def pin(self, new: NewJob) -> None:
        """Keep what a job relies on, so that nobody collects it before the job is over.

        Raises:
            InvalidSpec: It is gone.
            Unavailable: Nobody can say at present.
        """
        for field, target in new.spec.relies_on.items():
            try:
                await self._snapshots.pin(target, new.name)
            except UnusableSnapshot as error:
                raise InvalidSpec([FieldViolation(f"{ROOT}.{field}", str(error))]) from error
