"""Names as requests give them."""

from __future__ import annotations


def child_name(parent: str, collection: str, child_id: str) -> str:
    """The name of a new resource under a project, a dataset or a model."""
    return f"{parent}/{collection}/{child_id}"
