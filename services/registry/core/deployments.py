"""What became of versions at endpoints, as whoever serves them tells."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from services.common.errors import FieldViolation
from services.registry.core.errors import InvalidDeployment
from services.registry.core.names import APPROVAL, ENDPOINT, ROLLOUT, VERSION, checked, parent_of


class DeploymentState(StrEnum):
    """Where a version stands at an endpoint."""

    ROLLING_OUT = "ROLLING_OUT"
    SUCCEEDED = "SUCCEEDED"
    ROLLED_BACK = "ROLLED_BACK"
    CANCELLED = "CANCELLED"
    FAILED = "FAILED"
    DELETED = "DELETED"


class EndpointState(StrEnum):
    """Where an endpoint stands."""

    SERVING = "SERVING"
    DELETED = "DELETED"


@dataclass(frozen=True, slots=True)
class Deployment:
    """What became of a version at an endpoint.

    Attributes:
        rollout: That brought it; empty for the version that the endpoint was created with.
        approval: That allowed it; empty if it needed none.
        time: By the clock of who serves it.
        message: Why, for people.
    """

    endpoint: str
    rollout: str
    version: str
    approval: str
    state: DeploymentState
    time: datetime
    message: str = ""

    @property
    def subject(self) -> str:
        """The resource that it is about: the rollout, or the endpoint."""
        return self.rollout or self.endpoint

    def check(self) -> None:
        """Pass only names of the right kinds that belong together.

        Raises:
            InvalidName: One is not of its kind.
            InvalidDeployment: The rollout is of another endpoint, or the approval of
                another version.
        """
        checked(ENDPOINT, self.endpoint, "deployment.endpoint")
        checked(VERSION, self.version, "deployment.version")
        faults = []
        if self.rollout:
            checked(ROLLOUT, self.rollout, "deployment.rollout")
            if parent_of(self.rollout) != self.endpoint:
                faults.append(FieldViolation("deployment.rollout", f"is not of {self.endpoint}"))
        elif self.state not in (DeploymentState.SUCCEEDED, DeploymentState.DELETED):
            text = "without a rollout it is SUCCEEDED or DELETED"
            faults.append(FieldViolation("deployment.state", text))
        if self.approval:
            checked(APPROVAL, self.approval, "deployment.approval")
            if parent_of(self.approval) != self.version:
                faults.append(FieldViolation("deployment.approval", f"is not of {self.version}"))
        if faults:
            raise InvalidDeployment(self.endpoint, faults)


@dataclass(frozen=True, slots=True)
class Whereabouts:
    """Where a rollout or an endpoint stands, as the newest report says.

    Attributes:
        name: Of the rollout or the endpoint.
        state: A `DeploymentState` or an `EndpointState`.
        create_time: Of the first report.
        time: Of the newest report.
    """

    name: str
    state: str
    version: str
    message: str
    create_time: datetime
    time: datetime
