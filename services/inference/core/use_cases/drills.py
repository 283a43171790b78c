"""Rolling back for a drill, and bringing the champion back."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from services.common.resources import Meta
from services.inference.core.drills import DrillState, Measures, RollbackDrill
from services.inference.core.errors import DrillNotFound, DrillRunning, NothingToRollBackTo
from services.inference.core.ports import InferenceTx
from services.inference.core.use_cases.endpoints import get_endpoint, require_no_active_rollout
from services.inference.core.use_cases.rollouts import swap_back


def get_drill(tx: InferenceTx, name: str) -> RollbackDrill:
    """The drill called `name`.

    Raises:
        DrillNotFound: There is none.
    """
    drill = tx.drills.get(name)
    if drill is None:
        raise DrillNotFound(name)
    return drill


def create_drill(tx: InferenceTx, meta: Meta, endpoint: str, deadline: datetime) -> RollbackDrill:
    """Store a drill that is about to begin.

    Raises:
        EndpointNotFound: There is no such endpoint.
        RolloutInProgress: A rollout is under way.
        DrillRunning: So is another drill.
        NothingToRollBackTo: No earlier version is held.
    """
    held = get_endpoint(tx, endpoint)
    require_no_active_rollout(tx, endpoint)
    for other in tx.drills.under(endpoint):
        if other.state is DrillState.RUNNING:
            raise DrillRunning(endpoint, other.meta.name)
    if not held.previous_version:
        raise NothingToRollBackTo(endpoint)
    drill = RollbackDrill(meta, endpoint, held.stable.version, held.previous_version, deadline)
    tx.drills.add(drill)
    return drill


def switch(tx: InferenceTx, name: str, rollout: Meta) -> None:
    """Roll back for real; the champion stays loaded.

    Raises:
        NothingToRollBackTo: The endpoint is no longer as it was.
    """
    drill = get_drill(tx, name)
    endpoint = get_endpoint(tx, drill.endpoint)
    require_no_active_rollout(tx, drill.endpoint)
    if (endpoint.stable.version, endpoint.previous_version) != (drill.champion, drill.stand_in):
        raise NothingToRollBackTo(drill.endpoint)
    undoing = swap_back(tx, rollout, endpoint.name, f"drill {name}")
    _store(tx, replace(drill, rollback=undoing.name), rollout.create_time)


def end(
    tx: InferenceTx,
    name: str,
    rollout: Meta,
    state: DrillState,
    message: str,
    measures: Measures | None,
) -> RollbackDrill:
    """Bring the champion back, if the stand-in serves, and keep what was seen."""
    drill = get_drill(tx, name)
    if drill.state is not DrillState.RUNNING:
        return drill
    now = rollout.create_time
    endpoint = get_endpoint(tx, drill.endpoint)
    ended = drill.ended(state, message, measures)
    if drill.rollback:
        if (endpoint.stable.version, endpoint.previous_version) == (drill.stand_in, drill.champion):
            restoring = swap_back(tx, rollout, endpoint.name, f"end of drill {name}")
            ended = replace(ended, restoring=restoring.name)
        else:
            changed = f"somebody changed the endpoint meanwhile; {message}".removesuffix("; ")
            ended = replace(ended, state=DrillState.FAILED, message=changed)
    return _store(tx, ended, now)


def _store(tx: InferenceTx, drill: RollbackDrill, now: datetime) -> RollbackDrill:
    kept = replace(drill, meta=drill.meta.touched(now))
    tx.drills.replace(kept)
    return kept
