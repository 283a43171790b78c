"""Models, versions and aliases to and from proto messages."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from roundhouse.registry.v1 import model_pb2 as pb
from roundhouse.registry.v1 import model_service_pb2 as service_pb

from services.common.rpc.convert import to_timestamp
from services.registry.core.aliases import Alias, AliasMove, MoveOrder
from services.registry.core.bundles import BundleFile
from services.registry.core.integrity import FaultKind, FileFault
from services.registry.core.models import (
    BaselineBar,
    Comparison,
    FixedBar,
    GateRule,
    Model,
    PromotionPolicy,
)
from services.registry.core.versions import Ancestry, ModelVersion, Quarantine, VersionState

_STATES: Final = {
    VersionState.UPLOADING: pb.ModelVersion.STATE_UPLOADING,
    VersionState.READY: pb.ModelVersion.STATE_READY,
    VersionState.REJECTED: pb.ModelVersion.STATE_REJECTED,
    VersionState.DEPRECATED: pb.ModelVersion.STATE_DEPRECATED,
    VersionState.QUARANTINED: pb.ModelVersion.STATE_QUARANTINED,
}
_FAULT_KINDS: Final = {
    FaultKind.MISSING: pb.FileFault.KIND_MISSING,
    FaultKind.TRUNCATED: pb.FileFault.KIND_TRUNCATED,
    FaultKind.DAMAGED: pb.FileFault.KIND_DAMAGED,
    FaultKind.SWAPPED: pb.FileFault.KIND_SWAPPED,
}
_COMPARISONS: Final = {
    Comparison.AT_LEAST: pb.GateRule.COMPARISON_AT_LEAST,
    Comparison.AT_MOST: pb.GateRule.COMPARISON_AT_MOST,
}
_COMPARISONS_FROM_PROTO: Final = {value: key for key, value in _COMPARISONS.items()}


def model_to_proto(model: Model) -> pb.Model:
    """`model` as it goes over the wire."""
    meta = model.meta
    return pb.Model(
        name=meta.name,
        uid=meta.uid,
        etag=meta.etag,
        create_time=to_timestamp(meta.create_time),
        update_time=to_timestamp(meta.update_time),
        labels=meta.labels,
        description=model.description,
        promotion_policy=pb.PromotionPolicy(
            rules=[rule_to_proto(rule) for rule in model.policy.rules],
            protected_aliases=model.policy.protected_aliases,
        ),
    )


def policy_from_proto(policy: pb.PromotionPolicy) -> PromotionPolicy:
    """The policy that a caller wants."""
    return PromotionPolicy(
        rules=tuple(_rule_from_proto(rule) for rule in policy.rules),
        protected_aliases=tuple(policy.protected_aliases),
    )


def rule_to_proto(rule: GateRule) -> pb.GateRule:
    """`rule` as it goes over the wire."""
    message = pb.GateRule(metric=rule.metric, comparison=_COMPARISONS[rule.comparison])
    if isinstance(rule.bar, FixedBar):
        message.value = rule.bar.value
    else:
        message.baseline_margin = rule.bar.margin
    return message


def _rule_from_proto(rule: pb.GateRule) -> GateRule:
    fixed = rule.WhichOneof("bar") == "value"
    return GateRule(
        metric=rule.metric,
        comparison=_COMPARISONS_FROM_PROTO[rule.comparison],
        bar=FixedBar(rule.value) if fixed else BaselineBar(rule.baseline_margin),
    )


def version_to_proto(
    version: ModelVersion, aliases: Sequence[Alias], *, verified_at: datetime | None = None
) -> pb.ModelVersion:
    """`version` with those of its model's `aliases` that point at it.

    Args:
        version: What is converted.
        aliases: Of its model.
        verified_at: When its bytes were last read; None leaves the field unset.
    """
    meta = version.meta
    return pb.ModelVersion(
        name=meta.name,
        uid=meta.uid,
        etag=meta.etag,
        create_time=to_timestamp(meta.create_time),
        update_time=to_timestamp(meta.update_time),
        labels=meta.labels,
        state=_STATES[version.state],
        digest=version.digest or "",
        files=[artifact_to_proto(file) for file in version.files],
        training_job=version.ancestry.training_job,
        snapshots=version.ancestry.snapshots,
        parent_version=version.ancestry.parent_version,
        aliases=[alias.meta.name for alias in aliases if alias.version == meta.name],
        verify_time=None if verified_at is None else to_timestamp(verified_at),
        quarantine=None if version.quarantine is None else _quarantine(version.quarantine),
    )


def _quarantine(quarantine: Quarantine) -> pb.Quarantine:
    return pb.Quarantine(
        time=to_timestamp(quarantine.time),
        faults=[fault_to_proto(fault) for fault in quarantine.faults],
        former_state=_STATES[quarantine.former],
    )


def fault_to_proto(fault: FileFault) -> pb.FileFault:
    """`fault` as it goes over the wire."""
    return pb.FileFault(
        path=fault.path,
        kind=_FAULT_KINDS[fault.kind],
        expected_digest=fault.expected_digest,
        actual_digest=fault.actual_digest,
        expected_size_bytes=fault.expected_size_bytes,
        actual_size_bytes=fault.actual_size_bytes,
    )


def ancestry_from_proto(version: pb.ModelVersion) -> Ancestry:
    """What the new version was made from."""
    return Ancestry(
        snapshots=tuple(version.snapshots),
        training_job=version.training_job,
        parent_version=version.parent_version,
    )


def artifact_to_proto(file: BundleFile) -> pb.ArtifactFile:
    """`file` as it goes over the wire."""
    return pb.ArtifactFile(path=file.path, digest=file.digest, size_bytes=file.size_bytes)


def alias_to_proto(alias: Alias, protected: bool) -> pb.Alias:
    """`alias` as it goes over the wire."""
    return pb.Alias(
        name=alias.meta.name,
        etag=alias.meta.etag,
        version=alias.version,
        protected=protected,
        update_time=to_timestamp(alias.meta.update_time),
    )


def order_from_proto(move: service_pb.MoveAliasesRequest.Move) -> MoveOrder:
    """One move that a caller wants."""
    return MoveOrder(
        alias=move.alias, to_version=move.to_version, expected_version=move.expected_version
    )


def move_to_proto(move: AliasMove) -> pb.AliasMove:
    """`move` as it goes over the wire."""
    return pb.AliasMove(
        alias=move.alias,
        from_version=move.from_version,
        to_version=move.to_version,
        actor=move.actor,
        reason=move.reason,
        time=to_timestamp(move.time),
        approval=move.approval,
    )
