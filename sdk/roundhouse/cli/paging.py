"""All items of a list method, page by page."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from google.protobuf.message import Message

RequestT = TypeVar("RequestT", bound=Message)

PAGE_SIZE = 200


def every(method: Callable[[RequestT], Any], request: RequestT, items: str) -> Iterator[Any]:
    """Yields what the list method has.

    Args:
        method: A stub's list method.
        request: Without page token; not changed.
        items: Field of the response that holds the page's items.
    """
    page: Any = type(request)()
    page.CopyFrom(request)
    page.page_size = PAGE_SIZE
    while True:
        response = method(page)
        yield from getattr(response, items)
        if not response.next_page_token:
            return
        page.page_token = response.next_page_token
