"""Models, versions and aliases to and from proto messages."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from google.type.money_pb2 import Money as MoneyMessage
from roundhouse.registry.v1 import model_pb2 as pb
from roundhouse.registry.v1 import model_service_pb2 as service_pb

from services.common.rpc.convert import to_timestamp
from services.registry.api.convert.policies import policy_to_proto
from services.registry.api.convert.retention import retention_to_proto
from services.registry.core.aliases import Alias, AliasMove, MoveOrder
from services.registry.core.bundles import BundleFile
from services.registry.core.integrity import FaultKind, FileFault
from services.registry.core.models import Accountability, Model, Money
from services.registry.core.versions import Ancestry, ModelVersion, Quarantine, VersionState

_STATES: Final = {
    VersionState.UPLOADING: pb.ModelVersion.STATE_UPLOADING,
    VersionState.READY: pb.ModelVersion.STATE_READY,
    VersionState.REJECTED: pb.ModelVersion.STATE_REJECTED,
    VersionState.DEPRECATED: pb.ModelVersion.STATE_DEPRECATED,
    VersionState.QUARANTINED: pb.ModelVersion.STATE_QUARANTINED,
    VersionState.DELETED: pb.ModelVersion.STATE_DELETED,
}
_FAULT_KINDS: Final = {
    FaultKind.MISSING: pb.FileFault.KIND_MISSING,
    FaultKind.TRUNCATED: pb.FileFault.KIND_TRUNCATED,
    FaultKind.DAMAGED: pb.FileFault.KIND_DAMAGED,
    FaultKind.SWAPPED: pb.FileFault.KIND_SWAPPED,
}


def model_to_proto(model: Model) -> pb.Model:
    """`model` as it goes over the wire."""
    meta, who = model.meta, model.accountability
    return pb.Model(
        name=meta.name,
        uid=meta.uid,
        etag=meta.etag,
        create_time=to_timestamp(meta.create_time),
        update_time=to_timestamp(meta.update_time),
        labels=meta.labels,
        description=model.description,
        promotion_policy=policy_to_proto(model.policy),
        owner=who.owner,
        runbook_uri=who.runbook_uri,
        monthly_budget=_money_to_proto(who.monthly_budget),
        first_version_has_no_rollback=who.first_version_has_no_rollback,
        retention_policy=retention_to_proto(model.retention),
    )


def accountability_from_proto(model: pb.Model) -> Accountability:
    """Who answers for the model that a caller wants."""
    money = model.monthly_budget
    return Accountability(
        owner=model.owner,
        runbook_uri=model.runbook_uri,
        monthly_budget=(
            Money(money.currency_code, money.units, money.nanos)
            if model.HasField("monthly_budget")
            else None
        ),
        first_version_has_no_rollback=model.first_version_has_no_rollback,
    )


def _money_to_proto(money: Money | None) -> MoneyMessage | None:
    if money is None:
        return None
    return MoneyMessage(currency_code=money.currency_code, units=money.units, nanos=money.nanos)


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
        collected_by=version.collected_by,
        collect_time=None if version.collect_time is None else to_timestamp(version.collect_time),
        signature=None if version.signature is None else artifact_to_proto(version.signature),
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
        alias=move.alias,
        to_version=move.to_version,
        expected_version=move.expected_version,
        approval=move.approval,
        plan_digest=move.plan_digest,
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
