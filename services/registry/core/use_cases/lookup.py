"""Resources that must exist for a use case to go on."""

from __future__ import annotations

from services.registry.core.aliases import Alias
from services.registry.core.approvals import Approval
from services.registry.core.errors import (
    AliasNotFound,
    ApprovalNotFound,
    DatasetNotFound,
    EvaluationNotFound,
    GateResultNotFound,
    ModelNotFound,
    SnapshotNotFound,
    VersionNotFound,
)
from services.registry.core.evaluations import Evaluation
from services.registry.core.gates import GateResult
from services.registry.core.models import Model
from services.registry.core.names import (
    ALIAS,
    APPROVAL,
    DATASET,
    EVALUATION,
    GATE_RESULT,
    MODEL,
    SNAPSHOT,
    VERSION,
    checked,
)
from services.registry.core.ports import RegistryTx
from services.registry.core.snapshots import Dataset, DatasetSnapshot
from services.registry.core.versions import ModelVersion


def the_dataset(tx: RegistryTx, name: str, field: str = "name") -> Dataset:
    """The dataset `name`.

    Raises:
        InvalidName, DatasetNotFound: There is none.
    """
    found = tx.datasets.get(checked(DATASET, name, field))
    if found is None:
        raise DatasetNotFound(name)
    return found


def the_snapshot(tx: RegistryTx, name: str, field: str = "name") -> DatasetSnapshot:
    """The snapshot `name`.

    Raises:
        InvalidName, SnapshotNotFound: There is none.
    """
    found = tx.snapshots.get(checked(SNAPSHOT, name, field))
    if found is None:
        raise SnapshotNotFound(name)
    return found


def the_model(tx: RegistryTx, name: str, field: str = "name") -> Model:
    """The model `name`.

    Raises:
        InvalidName, ModelNotFound: There is none.
    """
    found = tx.models.get(checked(MODEL, name, field))
    if found is None:
        raise ModelNotFound(name)
    return found


def the_version(tx: RegistryTx, name: str, field: str = "name") -> ModelVersion:
    """The version `name`.

    Raises:
        InvalidName, VersionNotFound: There is none.
    """
    found = tx.versions.get(checked(VERSION, name, field))
    if found is None:
        raise VersionNotFound(name)
    return found


def the_alias(tx: RegistryTx, name: str, field: str = "name") -> Alias:
    """The alias `name`.

    Raises:
        InvalidName, AliasNotFound: There is none.
    """
    found = tx.aliases.get(checked(ALIAS, name, field))
    if found is None:
        raise AliasNotFound(name)
    return found


def the_evaluation(tx: RegistryTx, name: str, field: str = "name") -> Evaluation:
    """The evaluation `name`.

    Raises:
        InvalidName, EvaluationNotFound: There is none.
    """
    found = tx.evaluations.get(checked(EVALUATION, name, field))
    if found is None:
        raise EvaluationNotFound(name)
    return found


def the_gate_result(tx: RegistryTx, name: str, field: str = "name") -> GateResult:
    """The gate result `name`.

    Raises:
        InvalidName, GateResultNotFound: There is none.
    """
    found = tx.gate_results.get(checked(GATE_RESULT, name, field))
    if found is None:
        raise GateResultNotFound(name)
    return found


def the_approval(tx: RegistryTx, name: str, field: str = "name") -> Approval:
    """The approval `name`.

    Raises:
        InvalidName, ApprovalNotFound: There is none.
    """
    found = tx.approvals.get(checked(APPROVAL, name, field))
    if found is None:
        raise ApprovalNotFound(name)
    return found
