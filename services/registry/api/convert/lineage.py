"""Lineage and deployments to and from proto messages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from roundhouse.registry.v1 import lineage_service_pb2 as pb

from services.common.rpc.convert import from_timestamp, to_timestamp
from services.registry.core.deployments import Deployment, DeploymentState
from services.registry.core.lineage import (
    BOTH,
    DOWNSTREAM,
    UPSTREAM,
    Direction,
    Edge,
    Node,
    NodeKind,
)

_DIRECTIONS: Final[Mapping[pb.QueryLineageRequest.Direction.ValueType, Sequence[Direction]]] = {
    pb.QueryLineageRequest.DIRECTION_UPSTREAM: UPSTREAM,
    pb.QueryLineageRequest.DIRECTION_DOWNSTREAM: DOWNSTREAM,
    pb.QueryLineageRequest.DIRECTION_BOTH: BOTH,
}
_KINDS: Final = {
    NodeKind.UNKNOWN: pb.LineageNode.KIND_UNSPECIFIED,
    NodeKind.SNAPSHOT: pb.LineageNode.KIND_SNAPSHOT,
    NodeKind.FEATURE: pb.LineageNode.KIND_FEATURE,
    NodeKind.TRAINING_JOB: pb.LineageNode.KIND_TRAINING_JOB,
    NodeKind.VERSION: pb.LineageNode.KIND_VERSION,
    NodeKind.EVALUATION: pb.LineageNode.KIND_EVALUATION,
    NodeKind.GATE_RESULT: pb.LineageNode.KIND_GATE_RESULT,
    NodeKind.APPROVAL: pb.LineageNode.KIND_APPROVAL,
    NodeKind.ALIAS: pb.LineageNode.KIND_ALIAS,
    NodeKind.ROLLOUT: pb.LineageNode.KIND_ROLLOUT,
    NodeKind.ENDPOINT: pb.LineageNode.KIND_ENDPOINT,
}
_STATES: Final = {
    DeploymentState.ROLLING_OUT: pb.Deployment.STATE_ROLLING_OUT,
    DeploymentState.SUCCEEDED: pb.Deployment.STATE_SUCCEEDED,
    DeploymentState.ROLLED_BACK: pb.Deployment.STATE_ROLLED_BACK,
    DeploymentState.CANCELLED: pb.Deployment.STATE_CANCELLED,
    DeploymentState.FAILED: pb.Deployment.STATE_FAILED,
    DeploymentState.DELETED: pb.Deployment.STATE_DELETED,
}
_STATES_BACK: Final = {message: state for state, message in _STATES.items()}


def directions_from_proto(
    direction: pb.QueryLineageRequest.Direction.ValueType,
) -> Sequence[Direction]:
    """Which ways to walk."""
    return _DIRECTIONS[direction]


def edge_to_proto(edge: Edge) -> pb.LineageEdge:
    """`edge` as it goes over the wire."""
    message = pb.LineageEdge(
        to=edge.target, relation=edge.relation.value, time=to_timestamp(edge.time)
    )
    setattr(message, "from", edge.source)  # a keyword of Python
    return message


def node_to_proto(node: Node) -> pb.LineageNode:
    """`node` as it goes over the wire."""
    return pb.LineageNode(
        name=node.name,
        kind=_KINDS[node.kind],
        state=node.state,
        time=None if node.time is None else to_timestamp(node.time),
        label=node.label,
    )


def deployment_from_proto(deployment: pb.Deployment) -> Deployment:
    """What a caller tells of a version."""
    return Deployment(
        endpoint=deployment.endpoint,
        rollout=deployment.rollout,
        version=deployment.version,
        approval=deployment.approval,
        state=_STATES_BACK[deployment.state],
        time=from_timestamp(deployment.time),
        message=deployment.message,
    )


def deployment_to_proto(deployment: Deployment) -> pb.Deployment:
    """`deployment` as it goes over the wire."""
    return pb.Deployment(
        endpoint=deployment.endpoint,
        rollout=deployment.rollout,
        version=deployment.version,
        approval=deployment.approval,
        state=_STATES[deployment.state],
        time=to_timestamp(deployment.time),
        message=deployment.message,
    )
