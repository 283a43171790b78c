"""The shapes of the monitor's resource names."""

from __future__ import annotations

from typing import Final

from services.common.names import PROJECT, ResourceName, checked, id_of, parent_of

_MONITOR: Final = "projects/{project}/monitors/{monitor}"

MONITOR: Final = ResourceName(_MONITOR)
DRIFT_REPORT: Final = ResourceName(_MONITOR + "/driftReports/{report}", server_ids=("report",))
PERFORMANCE_REPORT: Final = ResourceName(
    _MONITOR + "/performanceReports/{report}", server_ids=("report",)
)
RETRAIN_POLICY: Final = ResourceName(_MONITOR + "/retrainPolicies/{policy}")
RETRAIN_DECISION: Final = ResourceName(
    _MONITOR + "/retrainDecisions/{decision}", server_ids=("decision",)
)
RETRAIN_EVENT: Final = ResourceName(_MONITOR + "/retrainEvents/{event}", server_ids=("event",))
ALERT: Final = ResourceName(_MONITOR + "/alerts/{alert}", server_ids=("alert",))
JOB_ALERT: Final = ResourceName("projects/{project}/alerts/{alert}", server_ids=("alert",))
SLO: Final = ResourceName(_MONITOR + "/slos/{slo}")
EPISODE: Final = ResourceName(_MONITOR + "/episodes/{episode}", server_ids=("episode",))
ENDPOINT: Final = ResourceName("projects/{project}/endpoints/{endpoint}")
DATASET: Final = ResourceName("projects/{project}/datasets/{dataset}")
SNAPSHOT: Final = ResourceName(
    "projects/{project}/datasets/{dataset}/snapshots/{snapshot}", server_ids=("snapshot",)
)
TRAINING_JOB: Final = ResourceName(
    "projects/{project}/trainingJobs/{training_job}", server_ids=("training_job",)
)
VERSION: Final = ResourceName(
    "projects/{project}/models/{model}/versions/{version}", server_ids=("version",)
)

__all__ = [
    "ALERT",
    "DATASET",
    "DRIFT_REPORT",
    "ENDPOINT",
    "EPISODE",
    "JOB_ALERT",
    "MONITOR",
    "PERFORMANCE_REPORT",
    "PROJECT",
    "RETRAIN_DECISION",
    "RETRAIN_EVENT",
    "RETRAIN_POLICY",
    "SLO",
    "SNAPSHOT",
    "TRAINING_JOB",
    "VERSION",
    "checked",
    "id_of",
    "parent_of",
]
