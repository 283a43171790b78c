"""Resource names of the registry: their shapes and their parts."""

from __future__ import annotations

import re
from enum import Enum
from typing import Final

from services.registry.core.errors import InvalidName

_ID: Final = r"[a-z][a-z0-9-]{0,62}"
_OPAQUE: Final = r"[a-z0-9][a-z0-9-]{0,62}"
_VERSION: Final = rf"projects/{_ID}/models/{_ID}/versions/[1-9][0-9]{{0,8}}"


class Shape(Enum):
    """The shape of one kind of name: how it is written, and its pattern."""

    PROJECT = ("projects/{project}", rf"projects/{_ID}")
    DATASET = ("projects/{project}/datasets/{dataset}", rf"projects/{_ID}/datasets/{_ID}")
    SNAPSHOT = (
        "projects/{project}/datasets/{dataset}/snapshots/{snapshot}",
        rf"projects/{_ID}/datasets/{_ID}/snapshots/{_OPAQUE}",
    )
    MODEL = ("projects/{project}/models/{model}", rf"projects/{_ID}/models/{_ID}")
    VERSION = ("projects/{project}/models/{model}/versions/{version}", _VERSION)
    ALIAS = (
        "projects/{project}/models/{model}/aliases/{alias}",
        rf"projects/{_ID}/models/{_ID}/aliases/{_ID}",
    )
    EVALUATION = (
        "projects/{project}/models/{model}/versions/{version}/evaluations/{evaluation}",
        rf"{_VERSION}/evaluations/{_OPAQUE}",
    )
    GATE_RESULT = (
        "projects/{project}/models/{model}/versions/{version}/gateResults/{gate_result}",
        rf"{_VERSION}/gateResults/{_OPAQUE}",
    )
    APPROVAL = (
        "projects/{project}/models/{model}/versions/{version}/approvals/{approval}",
        rf"{_VERSION}/approvals/{_OPAQUE}",
    )
    ANY = ("projects/{project}/{collection}/{id}…", rf"projects/{_ID}(?:/[a-zA-Z]+/{_OPAQUE})+")

    def __init__(self, written: str, pattern: str) -> None:
        self.written = written
        self.pattern = re.compile(pattern)

    def fits(self, name: str) -> bool:
        """Whether `name` has this shape."""
        return self.pattern.fullmatch(name) is not None

    def checked(self, name: str, field: str) -> str:
        """`name`, when it has this shape.

        Raises:
            InvalidName: It hasn't; `field` says where in the request it stood.
        """
        if not self.fits(name):
            raise InvalidName(field, name, self.written)
        return name


def parent_of(name: str) -> str:
    """The name two segments up: the model of a version, the project of a model."""
    return name.rsplit("/", 2)[0]


def id_of(name: str) -> str:
    """The last segment: `3` of `…/versions/3`."""
    return name.rsplit("/", 1)[1]
