"""What every resource of the registry has in common."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from types import MappingProxyType
from typing import Final, Protocol

from services.common.etags import check_etag, etag_of

NO_LABELS: Final[Mapping[str, str]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Meta:
    """Identity and history of one resource.

    Attributes:
        name: Resource name, such as `projects/default/models/delays`.
        uid: Unique over time, also when a name is used again.
        revision: 1 at creation, one more with each change.
        create_time: Server clock, UTC.
        update_time: Server clock, UTC, of the last change.
        labels: Caller's own key-value pairs.
    """

    name: str
    uid: str
    revision: int
    create_time: datetime
    update_time: datetime
    labels: Mapping[str, str] = field(default_factory=lambda: NO_LABELS)

    @property
    def etag(self) -> str:
        """Changes with every change of the resource."""
        return etag_of(self.uid, self.revision)

    def check_etag(self, given: str) -> None:
        """Pass if `given` is empty or the present etag.

        Raises:
            EtagMismatch: The caller's copy is out of date.
        """
        check_etag(self.name, given, self.etag)

    def touched(self, now: datetime) -> Meta:
        """This identity after a change at `now`."""
        return replace(self, revision=self.revision + 1, update_time=now)


class Resource(Protocol):
    """Anything that has a `Meta`."""

    @property
    def meta(self) -> Meta:
        """Identity and history."""
        ...
