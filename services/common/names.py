"""Resource names (AIP-122): `projects/{project}/models/{model}/versions/{version}`."""

from __future__ import annotations

import re
from typing import Final

from services.common.errors import FieldViolation, InvalidArgument

USER_ID: Final = r"[a-z][a-z0-9-]{0,62}"
"""Ids that people choose: a DNS label (AIP-122) that starts with a letter."""

SERVER_ID: Final = r"[a-z0-9][a-z0-9-]{0,62}"
"""Ids that a server gives; they may start with a digit, as numbers and hex digests do."""

_VARIABLE: Final = re.compile(r"\{(\w+)\}")


class InvalidName(InvalidArgument):
    """A resource name has the wrong shape."""

    reason = "INVALID_NAME"

    def __init__(self, name: str, expected: str, field: str = "") -> None:
        text = f"{name!r} is no name of the form {expected}."
        violations = [FieldViolation(field, text)] if field else []
        super().__init__(text, violations=violations, name=name, expected=expected)


class ResourceName:
    """The names of one kind of resource.

    Args:
        template: Such as `projects/{project}/models/{model}`.
        server_ids: Variables of `template` whose ids the server gives.
    """

    def __init__(self, template: str, *, server_ids: tuple[str, ...] = ()) -> None:
        self.template = template
        self._variables = tuple(_VARIABLE.findall(template))
        unknown = set(server_ids) - set(self._variables)
        if unknown:
            raise ValueError(f"{template!r} has no variables {sorted(unknown)}")
        self._pattern = re.compile(
            _VARIABLE.sub(
                lambda match: f"(?P<{match[1]}>{SERVER_ID if match[1] in server_ids else USER_ID})",
                template,
            )
        )

    def format(self, **ids: str) -> str:
        """The name with these ids, one for each variable.

        Raises:
            InvalidName: An id has the wrong form.
        """
        name = self.template.format(**ids)
        self.parse(name)
        return name

    def parse(self, name: str, *, field: str = "") -> dict[str, str]:
        """The id of each variable.

        Args:
            name: A resource name.
            field: Where it stood in the request; named in the error, if given.

        Raises:
            InvalidName: `name` is not of this kind.
        """
        match = self._pattern.fullmatch(name)
        if match is None:
            raise InvalidName(name, self.template, field)
        return match.groupdict()

    def matches(self, name: str) -> bool:
        """Whether `name` is of this kind."""
        return self._pattern.fullmatch(name) is not None

    def id_of(self, name: str) -> str:
        """The last variable's id, which is the resource's own.

        Raises:
            InvalidName: `name` is not of this kind.
        """
        return self.parse(name)[self._variables[-1]]


def checked(kind: ResourceName, name: str, field: str) -> str:
    """`name`, when it is of this kind.

    Raises:
        InvalidName: It isn't; `field` says where in the request it stood.
    """
    kind.parse(name, field=field)
    return name


def id_of(name: str) -> str:
    """The last segment: `3` of `.../versions/3`."""
    return name.rpartition("/")[2]


def parent_of(name: str) -> str:
    """The name without its last collection and id: a version's model, a model's project.

    Raises:
        InvalidName: `name` has no parent.
    """
    parent, _, rest = name.rpartition("/")
    parent, _, collection = parent.rpartition("/")
    if not (parent and collection and rest):
        raise InvalidName(name, "{parent}/{collection}/{id}")
    return parent


PROJECT: Final = ResourceName("projects/{project}")
"""What everything belongs to."""
