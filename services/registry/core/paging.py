"""What a list asks for, and what it gets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")
U = TypeVar("U")


@dataclass(frozen=True, slots=True)
class PageQuery:
    """One page of a list.

    Attributes:
        parent: Resource name that the items are under; `-` as an id stands for any.
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

    def map(self, convert: Callable[[T], U]) -> Page[U]:
        """The same page of converted items."""
        return Page(tuple(convert(item) for item in self.items), self.next_page_token)
