"""Short names as people type them, and full resource names."""

from __future__ import annotations

import re
from typing import Final

from roundhouse.cli.failures import UsageFault

_VERSION: Final = re.compile(r"^(?P<model>[a-z][a-z0-9-]*)/(?P<version>\d+)$")
_ALIAS: Final = re.compile(r"^(?P<model>[a-z][a-z0-9-]*)@(?P<alias>[a-z][a-z0-9-]*)$")
_PREFIX: Final = re.compile(r"^projects/[^/]+/")


def parent(project: str) -> str:
    """The project's resource name."""
    return f"projects/{project}"


def full(project: str, collection: str, name: str) -> str:
    """`name` as a resource of the project, unless it is a full name already."""
    return name if name.startswith("projects/") else f"{parent(project)}/{collection}/{name}"


def version(project: str, name: str) -> str:
    """The version or alias that `MODEL/NUMBER` or `MODEL@ALIAS` means.

    Raises:
        UsageFault: It is neither, nor a full name.
    """
    if name.startswith("projects/"):
        return name
    if match := _VERSION.match(name):
        return f"{parent(project)}/models/{match['model']}/versions/{match['version']}"
    if match := _ALIAS.match(name):
        return f"{parent(project)}/models/{match['model']}/aliases/{match['alias']}"
    raise UsageFault(f"{name!r} names no version; write MODEL/NUMBER, such as flights/1.")


def model_of(version_name: str) -> str:
    """The model that a full version or alias name belongs to."""
    return version_name.split("/versions/")[0].split("/aliases/")[0]


def short(name: str) -> str:
    """A resource name for people: `flights/3` for a version, else what follows its collection."""
    local = _PREFIX.sub("", name)
    if match := re.fullmatch(r"models/([^/]+)/versions/([^/]+)", local):
        return f"{match[1]}/{match[2]}"
    if match := re.fullmatch(r"[^/]+/([^/]+)", local):
        return match[1]
    if match := re.fullmatch(r"datasets/([^/]+)/snapshots/([^/]+)", local):
        return f"{match[1]}/{match[2]}"
    return local


def last(name: str) -> str:
    """The last part of a resource name."""
    return name.rpartition("/")[2]
