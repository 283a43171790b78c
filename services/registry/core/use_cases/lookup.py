"""Resources that must exist for a use case to go on."""

from __future__ import annotations

from services.common.resources import existing
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
)
from services.registry.core.ports import RegistryTx
from services.registry.core.snapshots import Dataset, DatasetSnapshot
from services.registry.core.versions import ModelVersion


def the_dataset(tx: RegistryTx, name: str, field: str = "name") -> Dataset:
    """The dataset `name`.

    Raises:
        InvalidName, DatasetNotFound: There is none.
    """
    return existing(tx.datasets, DATASET, name, DatasetNotFound, field=field)


def the_snapshot(tx: RegistryTx, name: str, field: str = "name") -> DatasetSnapshot:
    """The snapshot `name`.

    Raises:
        InvalidName, SnapshotNotFound: There is none.
    """
    return existing(tx.snapshots, SNAPSHOT, name, SnapshotNotFound, field=field)


def the_model(tx: RegistryTx, name: str, field: str = "name") -> Model:
    """The model `name`.

    Raises:
        InvalidName, ModelNotFound: There is none.
    """
    return existing(tx.models, MODEL, name, ModelNotFound, field=field)


def the_version(tx: RegistryTx, name: str, field: str = "name") -> ModelVersion:
    """The version `name`.

    Raises:
        InvalidName, VersionNotFound: There is none.
    """
    return existing(tx.versions, VERSION, name, VersionNotFound, field=field)


def the_alias(tx: RegistryTx, name: str, field: str = "name") -> Alias:
    """The alias `name`.

    Raises:
        InvalidName, AliasNotFound: There is none.
    """
    return existing(tx.aliases, ALIAS, name, AliasNotFound, field=field)


def the_evaluation(tx: RegistryTx, name: str, field: str = "name") -> Evaluation:
    """The evaluation `name`.

    Raises:
        InvalidName, EvaluationNotFound: There is none.
    """
    return existing(tx.evaluations, EVALUATION, name, EvaluationNotFound, field=field)


def the_gate_result(tx: RegistryTx, name: str, field: str = "name") -> GateResult:
    """The gate result `name`.

    Raises:
        InvalidName, GateResultNotFound: There is none.
    """
    return existing(tx.gate_results, GATE_RESULT, name, GateResultNotFound, field=field)


def the_approval(tx: RegistryTx, name: str, field: str = "name") -> Approval:
    """The approval `name`.

    Raises:
        InvalidName, ApprovalNotFound: There is none.
    """
    return existing(tx.approvals, APPROVAL, name, ApprovalNotFound, field=field)
