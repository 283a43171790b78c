"""The shapes of the registry's resource names."""

from __future__ import annotations

from typing import Final

from services.common.names import PROJECT, ResourceName, checked, id_of, parent_of

_VERSION: Final = "projects/{project}/models/{model}/versions/{version}"

DATASET: Final = ResourceName("projects/{project}/datasets/{dataset}")
SNAPSHOT: Final = ResourceName(
    "projects/{project}/datasets/{dataset}/snapshots/{snapshot}", server_ids=("snapshot",)
)
MODEL: Final = ResourceName("projects/{project}/models/{model}")
VERSION: Final = ResourceName(_VERSION, server_ids=("version",))
ALIAS: Final = ResourceName("projects/{project}/models/{model}/aliases/{alias}")
EVALUATION: Final = ResourceName(
    _VERSION + "/evaluations/{evaluation}", server_ids=("version", "evaluation")
)
GATE_RESULT: Final = ResourceName(
    _VERSION + "/gateResults/{gate_result}", server_ids=("version", "gate_result")
)
APPROVAL: Final = ResourceName(
    _VERSION + "/approvals/{approval}", server_ids=("version", "approval")
)
TRAINING_JOB: Final = ResourceName(
    "projects/{project}/trainingJobs/{training_job}", server_ids=("training_job",)
)
ENDPOINT: Final = ResourceName("projects/{project}/endpoints/{endpoint}")
ROLLOUT: Final = ResourceName(
    "projects/{project}/endpoints/{endpoint}/rollouts/{rollout}", server_ids=("rollout",)
)
WEBHOOK: Final = ResourceName("projects/{project}/webhooks/{webhook}")
WEBHOOK_DELIVERY: Final = ResourceName(
    "projects/{project}/webhooks/{webhook}/deliveries/{delivery}", server_ids=("delivery",)
)
PIN: Final = ResourceName("projects/{project}/pins/{pin}")
HOLD: Final = ResourceName("projects/{project}/holds/{hold}", server_ids=("hold",))
COLLECTION_PLAN: Final = ResourceName(
    "projects/{project}/collectionPlans/{collection_plan}", server_ids=("collection_plan",)
)

__all__ = [
    "ALIAS",
    "APPROVAL",
    "COLLECTION_PLAN",
    "DATASET",
    "ENDPOINT",
    "EVALUATION",
    "GATE_RESULT",
    "HOLD",
    "MODEL",
    "PIN",
    "PROJECT",
    "ROLLOUT",
    "SNAPSHOT",
    "TRAINING_JOB",
    "VERSION",
    "WEBHOOK",
    "WEBHOOK_DELIVERY",
    "checked",
    "id_of",
    "parent_of",
    "project_of",
]


def project_of(name: str) -> str:
    """`projects/{project}` of anything in it."""
    return "/".join(name.split("/")[:2])
