"""What whoever serves tells of versions, added to the lineage."""

from __future__ import annotations

from dataclasses import replace

from services.registry.core.deployments import (
    Deployment,
    DeploymentState,
    EndpointState,
    Whereabouts,
)
from services.registry.core.lineage import Edge, Relation
from services.registry.core.ports import RegistryTx
from services.registry.core.use_cases.lookup import the_version


def record_deployment(tx: RegistryTx, deployment: Deployment) -> Deployment:
    """The report, in the lineage from now on; an older one changes no state.

    Raises:
        InvalidName, InvalidDeployment: Its parts are wrong or don't belong together.
        VersionNotFound: There is no such version.
    """
    deployment.check()
    the_version(tx, deployment.version, "deployment.version")
    if deployment.rollout:
        _tell_whereabouts(tx, deployment, deployment.rollout, deployment.state.value)
    match deployment.state:
        case DeploymentState.SUCCEEDED:
            _tell_whereabouts(tx, deployment, deployment.endpoint, EndpointState.SERVING.value)
        case DeploymentState.DELETED:
            _tell_whereabouts(tx, deployment, deployment.endpoint, EndpointState.DELETED.value)
        case _:
            pass
    if deployment.state is not DeploymentState.DELETED:
        _link(tx, deployment)
    tx.tell(
        "deployment.recorded",
        deployment.subject,
        {
            "endpoint": deployment.endpoint,
            "rollout": deployment.rollout,
            "version": deployment.version,
            "approval": deployment.approval,
            "state": deployment.state.value,
            "time": deployment.time.isoformat(),
            "message": deployment.message,
        },
    )
    return deployment


def _tell_whereabouts(tx: RegistryTx, deployment: Deployment, name: str, state: str) -> None:
    told = Whereabouts(
        name=name,
        state=state,
        version=deployment.version,
        message=deployment.message,
        create_time=deployment.time,
        time=deployment.time,
    )
    known = tx.whereabouts(name)
    if known is None:
        tx.set_whereabouts(told)
    elif known.time <= told.time:
        tx.set_whereabouts(replace(told, create_time=known.create_time))


def _link(tx: RegistryTx, deployment: Deployment) -> None:
    edges = []
    if deployment.rollout:
        edges.append(Edge(deployment.version, deployment.rollout, Relation.DEPLOYED, tx.now))
        edges.append(Edge(deployment.rollout, deployment.endpoint, Relation.SERVED, tx.now))
    else:
        edges.append(Edge(deployment.version, deployment.endpoint, Relation.SERVED, tx.now))
    if deployment.approval:
        edges.append(Edge(deployment.approval, deployment.subject, Relation.PERMITTED, tx.now))
    tx.link_all(edges)
