"""Aliases: movable names for versions, and the record of their moves."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

from services.common.resources import Meta
from services.registry.core.errors import AliasMoved


@dataclass(frozen=True, slots=True)
class Alias:
    """A movable name for one version of a model."""

    meta: Meta
    version: str

    def moved_to(self, version: str, now: datetime) -> Alias:
        """This alias, pointing at `version`."""
        return replace(self, meta=self.meta.touched(now), version=version)


@dataclass(frozen=True, slots=True)
class MoveOrder:
    """A wish to move one alias.

    Attributes:
        alias: Resource name; created if it doesn't exist.
        to_version: Version that it shall point at.
        expected_version: Version that it must point at now; empty: it must not exist.
        approval: That shall allow the move of a protected alias; empty: the newest that does.
        plan_digest: Of the plan that the version is rolled out by; empty: by none.
    """

    alias: str
    to_version: str
    expected_version: str
    approval: str = ""
    plan_digest: str = ""

    def check_expected(self, current: str) -> None:
        """Pass if the alias points at the expected version; empty stands for no alias.

        Raises:
            AliasMoved: It points elsewhere.
        """
        if current != self.expected_version:
            raise AliasMoved(self.alias, self.expected_version, current)


@dataclass(frozen=True, slots=True)
class AliasMove:
    """One past move of an alias.

    Attributes:
        from_version: Empty for the alias's first move.
        approval: That allowed it; empty for an unprotected alias.
    """

    alias: str
    from_version: str
    to_version: str
    actor: str
    reason: str
    time: datetime
    approval: str
