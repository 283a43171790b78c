"""Names and pages as requests give them."""

from __future__ import annotations

from services.common.resources import PageQuery
from services.registry.core.names import PROJECT, checked


def child_name(parent: str, collection: str, child_id: str) -> str:
    """The name of a new resource under a project, a dataset or a model."""
    return f"{parent}/{collection}/{child_id}"


def project_page(
    parent: str, *, page_size: int, page_token: str, filter_: str, order_by: str
) -> PageQuery:
    """One page of what is directly under a project.

    Raises:
        InvalidName: The parent isn't a project.
    """
    return PageQuery(checked(PROJECT, parent, "parent"), page_size, page_token, filter_, order_by)
