"""What every resource has in common, and how resources are kept and listed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from types import MappingProxyType
from typing import Final, Generic, Protocol, TypeVar

from services.common.errors import Conflict, NotFound
from services.common.etags import check_etag, etag_of
from services.common.names import ResourceName

NO_LABELS: Final[Mapping[str, str]] = MappingProxyType({})


class ConcurrentChange(Conflict):
    """Another writer changed the resource in the meantime."""

    reason = "CONCURRENT_CHANGE"

    def __init__(self, name: str) -> None:
        super().__init__(f"{name!r} was changed meanwhile; read it again and retry.", name=name)


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


ResourceT = TypeVar("ResourceT", bound=Resource)
T = TypeVar("T")
U = TypeVar("U")


class Collection(Protocol[ResourceT]):
    """The resources of one kind in one transaction, by name."""

    def get(self, name: str) -> ResourceT | None:
        """The resource called `name`, if there is one."""
        ...

    def add(self, resource: ResourceT) -> None:
        """Store a resource whose name is free."""
        ...

    def replace(self, resource: ResourceT) -> None:
        """Store the next revision of a resource.

        Raises:
            ConcurrentChange: The stored one isn't the revision just before.
        """
        ...

    def remove(self, name: str) -> None:
        """Forget the resource called `name`."""
        ...

    def count(self, parent: str) -> int:
        """How many resources are directly under `parent`."""
        ...

    def under(self, parent: str) -> Sequence[ResourceT]:
        """All resources directly under `parent`, oldest first."""
        ...

    def newest(self, parent: str) -> ResourceT | None:
        """The one under `parent` that was added last."""
        ...


def existing(
    collection: Collection[ResourceT],
    kind: ResourceName,
    name: str,
    missing: Callable[[str], NotFound],
    *,
    field: str = "name",
) -> ResourceT:
    """The resource called `name`.

    Args:
        collection: That should have it.
        kind: What its name must look like.
        name: From a request.
        missing: The error for a name that nothing has.
        field: Where in the request the name stood.

    Raises:
        InvalidName: The name is of another kind.
        NotFound: What `missing` gives.
    """
    kind.parse(name, field=field)
    found = collection.get(name)
    if found is None:
        raise missing(name)
    return found


@dataclass(frozen=True, slots=True)
class PageQuery:
    """One page of a list.

    Attributes:
        parent: Resource name that the items are under.
        page_size: Most items wanted; 0 means the default.
        page_token: Of the page before; empty for the first.
        filter: AIP-160; empty means all.
        order_by: Fields with an optional ` desc`; empty means the default.
    """

    parent: str
    page_size: int
    page_token: str
    filter: str = ""
    order_by: str = ""


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Some items of a list.

    Attributes:
        next_page_token: Empty on the last page.
    """

    items: tuple[T, ...]
    next_page_token: str

    def map(self, convert: Callable[[T], U]) -> list[U]:
        """The items, converted."""
        return [convert(item) for item in self.items]
