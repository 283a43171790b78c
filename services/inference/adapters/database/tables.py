"""The service's tables."""

from __future__ import annotations

from typing import Final

from sqlalchemy import Column, MetaData, String

from services.common.store.documents import Kind, resource_table
from services.inference.core.batches import BatchPredictionJob
from services.inference.core.drills import RollbackDrill
from services.inference.core.endpoints import ENDPOINT_NAME, Endpoint
from services.inference.core.policies import POLICY_VERSION_NAME, PolicyMove, PolicyVersion
from services.inference.core.rollouts import Rollout
from services.inference.core.shadows import ShadowReport

METADATA: Final = MetaData()

ENDPOINTS: Final = Kind(
    resource_table(
        "endpoint", METADATA, Column("endpoint_id", String(63), nullable=False, unique=True)
    ),
    Endpoint,
    lambda endpoint: {"endpoint_id": ENDPOINT_NAME.id_of(endpoint.name)},
)

ROLLOUTS: Final = Kind(
    resource_table(
        "rollout",
        METADATA,
        Column("state", String(16), nullable=False, index=True),
        Column("version", String(512), nullable=False),
    ),
    Rollout,
    lambda rollout: {"state": rollout.state.value, "version": rollout.version},
)

POLICY_VERSIONS: Final = Kind(
    resource_table(
        "policy_version",
        METADATA,
        Column("project", String(80), nullable=False, index=True),
        Column("author", String(128), nullable=False),
    ),
    PolicyVersion,
    lambda version: {
        "project": f"projects/{POLICY_VERSION_NAME.parse(version.name)['project']}",
        "author": version.author,
    },
)

POLICY_MOVES: Final = Kind(resource_table("policy_move", METADATA), PolicyMove)

POLICY_VERSION_LISTING: Final = POLICY_VERSIONS.listing(
    filterable=("author",), orderable=("create_time desc", "name")
)
POLICY_MOVE_LISTING: Final = POLICY_MOVES.listing(filterable=(), orderable=("create_time desc",))

DRILLS: Final = Kind(
    resource_table("rollback_drill", METADATA, Column("state", String(16), nullable=False)),
    RollbackDrill,
    lambda drill: {"state": drill.state.value},
)

SHADOW_REPORTS: Final = Kind(resource_table("shadow_report", METADATA), ShadowReport)

BATCH_JOBS: Final = Kind(
    resource_table(
        "batch_prediction_job",
        METADATA,
        Column("state", String(16), nullable=False, index=True),
        Column("snapshot", String(512), nullable=False),
        Column("version", String(512), nullable=False),
    ),
    BatchPredictionJob,
    lambda job: {"state": job.state.value, "snapshot": job.snapshot, "version": job.version},
)

BATCH_JOB_LISTING: Final = BATCH_JOBS.listing(
    filterable=("labels", "state", "snapshot", "version"),
    orderable=("create_time desc", "update_time", "name"),
)
DRILL_LISTING: Final = DRILLS.listing(filterable=("state",), orderable=("create_time desc", "name"))
ENDPOINT_LISTING: Final = ENDPOINTS.listing(
    filterable=("labels",), orderable=("name", "create_time", "update_time")
)
ROLLOUT_LISTING: Final = ROLLOUTS.listing(
    filterable=("labels", "state", "version"),
    orderable=("create_time desc", "update_time", "name"),
)
