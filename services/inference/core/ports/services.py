"""What the registry and the monitor are asked."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol

from services.inference.core.rollouts import Judgement, Rollout


class VersionCatalog(Protocol):
    """What the registry knows of versions."""

    async def digest_of(self, version: str) -> str:
        """Digest of a committed version's manifest.

        Raises:
            VersionNotServable: It is unknown or not committed.
        """
        ...

    async def check_approval(
        self, approval: str, version: str, *, digest: str, plan_digest: str
    ) -> None:
        """Pass if `approval` allows exactly these bytes now, by this plan.

        Raises:
            VersionNotApproved: It does not.
        """
        ...

    async def pin(self, endpoint: str, version: str) -> None:
        """Keep a version's bytes in the registry for an endpoint that is about to need them.

        Raises:
            VersionNotServable: They are gone.
        """
        ...

    async def move_alias(
        self, alias: str, to_version: str, *, expected: str, plan_digest: str, reason: str
    ) -> None:
        """Point `alias` at a version; nothing happens if it does already.

        Args:
            alias: Resource name.
            to_version: Where to.
            expected: Version that it must point at now, if it exists.
            plan_digest: Of the plan by which the version came.
            reason: For the record.

        Raises:
            AliasElsewhere: It points at another version.
            VersionNotApproved: It is protected, and the version is not approved.
        """
        ...


class Judge(Protocol):
    """Who compares versions on what came true."""

    async def judge(self, rollout: Rollout, since: datetime) -> Judgement:
        """The verdict on a rollout's version beside the previous one, as of now.

        Args:
            rollout: Names the endpoint and both versions, and says what its phase wants judged.
            since: Only predictions that arrived from then on, server clock.
        """
        ...

    async def hold(self, endpoint: str) -> str:
        """Why rollouts of an endpoint have to wait before their next phase; empty if they don't."""
        ...
