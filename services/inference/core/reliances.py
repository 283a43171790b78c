"""What endpoints rely on (the versions they hold, and those that rollouts lead to and from), and
what batch jobs do."""

from __future__ import annotations

from services.inference.core.batches import BatchState
from services.inference.core.ports import InferenceTx


def versions_needed(tx: InferenceTx) -> set[tuple[str, str]]:
    """Endpoint and version, by resource name, of everything that must stay downloadable."""
    needed: set[tuple[str, str]] = set()
    for endpoint in tx.all_endpoints():
        needed.update((endpoint.name, variant.version) for variant in endpoint.held)
        if endpoint.previous_version:
            needed.add((endpoint.name, endpoint.previous_version))
    for rollout in tx.active_rollouts():
        needed.add((rollout.endpoint, rollout.version))
        if rollout.previous_version:
            needed.add((rollout.endpoint, rollout.previous_version))
    return needed


def batch_inputs_needed(tx: InferenceTx) -> set[tuple[str, str]]:
    """Batch job and snapshot or version, by resource name, of every job that will read them."""
    return {
        (job.meta.name, target)
        for job in tx.unfinished_batch_jobs()
        if job.state is not BatchState.DELETING
        for target in (job.snapshot, job.version)
    }
