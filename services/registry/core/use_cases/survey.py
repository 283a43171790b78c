"""What there is in a project, and what keeps each of it."""

from __future__ import annotations

from collections.abc import Sequence

from services.registry.core.approvals import ApprovalState
from services.registry.core.lineage import Direction
from services.registry.core.models import Model
from services.registry.core.names import EVALUATION, SNAPSHOT, VERSION, parent_of
from services.registry.core.ports import RegistryTx
from services.registry.core.retention.reachability import Node, Root, RootKind
from services.registry.core.snapshots import Dataset, DatasetSnapshot, SnapshotState
from services.registry.core.versions import ModelVersion, VersionState

_KEEPS = frozenset({ApprovalState.PENDING, ApprovalState.APPROVED})


def survey(tx: RegistryTx, project: str) -> list[Node]:
    """Every snapshot and version of a project that has bytes; what was made first, first."""
    nodes = []
    for dataset in tx.datasets.under(project):
        snapshots = [
            snapshot
            for snapshot in tx.snapshots.under(dataset.meta.name)
            if snapshot.state is not SnapshotState.DELETED
        ]
        sealed = sum(snapshot.state is SnapshotState.SEALED for snapshot in snapshots)
        for snapshot in snapshots:
            sealed -= snapshot.state is SnapshotState.SEALED
            nodes.append((snapshot.meta.create_time, _snapshot_node(tx, dataset, snapshot, sealed)))
    for model in tx.models.under(project):
        versions = [
            version for version in tx.versions.under(model.meta.name) if _has_bytes(version)
        ]
        ready = sum(version.state is VersionState.READY for version in versions)
        for version in versions:
            ready -= version.state is VersionState.READY
            nodes.append((version.meta.create_time, _version_node(tx, model, version, ready)))
    # A version is made after its snapshots, and either after its parents.
    order = sorted(nodes, key=lambda entry: ("/versions/" in entry[1].name, entry[0]))
    return [node for _, node in order]


def obstacle_to_collecting(tx: RegistryTx, name: str) -> str | None:
    """What keeps a version or snapshot now, told for people; None if nothing does.

    Nothing that goes with it may be left: a plan takes what was made later first.
    """
    node = _node(tx, name)
    if node is None:
        return "it is gone already"
    if node.roots:
        return f"{node.roots[0].kind.value.lower()}: {node.roots[0].name}"
    for edge in tx.edges_at([name], Direction.DOWNSTREAM):
        if parent_of(edge.target) != name and _is_live(tx, edge.target):
            return f"lineage: {edge.target}"
    return None


def _node(tx: RegistryTx, name: str) -> Node | None:
    if SNAPSHOT.matches(name):
        snapshot = tx.snapshots.get(name)
        dataset = tx.datasets.get(parent_of(name))
        if snapshot is None or dataset is None or snapshot.state is SnapshotState.DELETED:
            return None
        return _snapshot_node(tx, dataset, snapshot, tx.newer_snapshots(name))
    version = tx.versions.get(name)
    model = tx.models.get(parent_of(name))
    if version is None or model is None or not _has_bytes(version):
        return None
    return _version_node(tx, model, version, tx.newer_versions(name))


def _is_live(tx: RegistryTx, name: str) -> bool:
    """Whether what was made from something still relies on it."""
    if EVALUATION.matches(name):
        name = parent_of(name)
    if VERSION.matches(name):
        version = tx.versions.get(name)
        return version is not None and _has_bytes(version)
    if SNAPSHOT.matches(name):
        snapshot = tx.snapshots.get(name)
        return snapshot is not None and snapshot.state is not SnapshotState.DELETED
    return False  # a training job that is not over has a pin


def _has_bytes(version: ModelVersion) -> bool:
    return version.state not in (VersionState.REJECTED, VersionState.DELETED)


def _version_node(tx: RegistryTx, model: Model, version: ModelVersion, newer: int) -> Node:
    name = version.meta.name
    roots: list[Root] = []
    if version.state is VersionState.UPLOADING:
        roots.append(Root(RootKind.OPEN, name))
    roots += [Root(RootKind.ALIAS, alias.meta.name) for alias in tx.aliases_at([name])]
    roots += _kept_by_people(tx, name)
    roots += [
        Root(RootKind.APPROVAL, approval.meta.name)
        for approval in tx.approvals.under(name)
        if approval.state_at(tx.now) in _KEEPS
    ]
    policy = model.retention
    if policy is None or policy.keeps(newer, version.meta.create_time, tx.now):
        roots.append(Root(RootKind.RETENTION, model.meta.name))
    ancestry = version.ancestry
    judged_on = [evaluation.scores.snapshot for evaluation in tx.evaluations.under(name)]
    needs = [*ancestry.snapshots, ancestry.parent_version, *judged_on]
    return Node(
        name=name,
        roots=tuple(roots),
        needs=tuple(dict.fromkeys(filter(None, needs))),
        size_bytes=version.size_bytes,
        digests=version.contents,
        why_not="" if policy is None else policy.why_not(model.meta.name),
    )


def _snapshot_node(tx: RegistryTx, dataset: Dataset, snapshot: DatasetSnapshot, newer: int) -> Node:
    name = snapshot.meta.name
    roots: list[Root] = []
    if snapshot.state is SnapshotState.OPEN:
        roots.append(Root(RootKind.OPEN, name))
    roots += _kept_by_people(tx, name)
    policy = dataset.retention
    if policy is None or policy.keeps(newer, snapshot.meta.create_time, tx.now):
        roots.append(Root(RootKind.RETENTION, dataset.meta.name))
    return Node(
        name=name,
        roots=tuple(roots),
        needs=snapshot.origin.parents,
        size_bytes=snapshot.size_bytes,
        digests=snapshot.contents,
        why_not="" if policy is None else policy.why_not(dataset.meta.name),
    )


def _kept_by_people(tx: RegistryTx, name: str) -> Sequence[Root]:
    pins = [Root(RootKind.PIN, pin.meta.name) for pin in tx.pins_on(name) if pin.lasts_at(tx.now)]
    holds = [
        Root(RootKind.HOLD, hold.meta.name) for hold in tx.holds_on(name) if hold.kind.keeps_bytes
    ]
    return [*pins, *holds]
