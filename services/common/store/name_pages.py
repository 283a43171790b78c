"""Pages of a few items that are not all rows of one table, by name."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from typing import TypeVar

from services.common.resources import Page, PageQuery
from services.common.store.listing import DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE, InvalidPageToken

T = TypeVar("T")


def page_by_name(known: Mapping[str, T], query: PageQuery) -> Page[T]:
    """The page that `query` asks for; it has neither filter nor order.

    Args:
        known: All items, by their names.
        query: What the caller asks for.

    Raises:
        InvalidPageToken: The token was made for another query.
    """
    after = _last_name(query) if query.page_token else ""
    names = sorted(name for name in known if name > after)
    size = min(query.page_size or DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE)
    token = ""
    if len(names) > size:
        content = json.dumps([query.parent, names[size - 1]])
        token = base64.urlsafe_b64encode(content.encode()).decode()
    return Page(tuple(known[name] for name in names[:size]), token)


def _last_name(query: PageQuery) -> str:
    try:
        parent, name = json.loads(base64.urlsafe_b64decode(query.page_token.encode()))
    except (ValueError, TypeError, binascii.Error):
        raise InvalidPageToken from None
    if parent != query.parent or not isinstance(name, str):
        raise InvalidPageToken
    return name
