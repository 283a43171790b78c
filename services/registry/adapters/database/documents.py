"""What of each kind of resource is also a column."""

from __future__ import annotations

from services.common.store.documents import Kind
from services.registry.adapters.database.tables import (
    ALIAS,
    APPROVAL,
    COLLECTION_PLAN,
    DATASET,
    EVALUATION,
    GATE_RESULT,
    HOLD,
    MODEL,
    PIN,
    SNAPSHOT,
    VERSION,
    WEBHOOK,
)
from services.registry.core.aliases import Alias
from services.registry.core.approvals import Approval
from services.registry.core.evaluations import Evaluation
from services.registry.core.gates import GateResult
from services.registry.core.models import Model
from services.registry.core.names import parent_of
from services.registry.core.retention.holds import Hold
from services.registry.core.retention.pins import Pin
from services.registry.core.retention.plans import CollectionPlan
from services.registry.core.snapshots import Dataset, DatasetSnapshot
from services.registry.core.versions import ModelVersion
from services.registry.core.webhooks import Webhook

DATASETS = Kind(DATASET, Dataset, lambda _: {})
SNAPSHOTS = Kind(
    SNAPSHOT,
    DatasetSnapshot,
    lambda snapshot: {
        "state": snapshot.state.value,
        "digest": snapshot.digest or "",
        "start_time": snapshot.window and snapshot.window.start,
        "end_time": snapshot.window and snapshot.window.end,
    },
)
MODELS = Kind(MODEL, Model, lambda _: {})
VERSIONS = Kind(
    VERSION,
    ModelVersion,
    lambda version: {
        "state": version.state.value,
        "digest": version.digest or "",
        "training_job": version.ancestry.training_job,
    },
)
ALIASES = Kind(ALIAS, Alias, lambda alias: {"version": alias.version})
EVALUATIONS = Kind(
    EVALUATION,
    Evaluation,
    lambda evaluation: {
        "snapshot": evaluation.scores.snapshot,
        "split": evaluation.scores.split,
        "split_digest": evaluation.scores.split_digest,
        "purpose": evaluation.scores.purpose.value,
    },
)
GATE_RESULTS = Kind(
    GATE_RESULT,
    GateResult,
    lambda result: {"evaluation": result.evaluation, "passed": result.passed},
)
APPROVALS = Kind(
    APPROVAL,
    Approval,
    lambda approval: {
        "model": parent_of(parent_of(approval.meta.name)),
        "decided": approval.decided.value,
        "requester": approval.requester,
        "approver": approval.approver,
        "expire_time": approval.expire_time,
    },
)
WEBHOOKS = Kind(WEBHOOK, Webhook, lambda _: {})
PINS = Kind(PIN, Pin, lambda pin: {"target": pin.target, "holder": pin.holder})
HOLDS = Kind(
    HOLD,
    Hold,
    lambda hold: {"target": hold.target, "kind": hold.kind.value, "state": hold.state.value},
)
PLANS = Kind(COLLECTION_PLAN, CollectionPlan, lambda plan: {"progress": plan.progress.value})
