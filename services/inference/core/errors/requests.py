"""What is refused about inference requests."""

from __future__ import annotations

from collections.abc import Sequence

from services.common.errors import (
    FailedPrecondition,
    FieldViolation,
    InvalidArgument,
    NotFound,
    PermissionDenied,
)


class VersionNotLoaded(NotFound):
    """The pinned version is not among those that the endpoint holds."""

    reason = "VERSION_NOT_LOADED"

    def __init__(self, endpoint: str, version: str, loaded: Sequence[str]) -> None:
        super().__init__(
            f"Endpoint {endpoint!r} does not hold version {version!r}; "
            f"it holds {', '.join(loaded) or 'none'}.",
            endpoint=endpoint,
            version=version,
            loaded=",".join(loaded),
        )


class VersionPinsForbidden(PermissionDenied):
    """The endpoint's shares alone decide which version answers."""

    reason = "VERSION_PINS_FORBIDDEN"

    def __init__(self, endpoint: str, version: str) -> None:
        super().__init__(
            f"Endpoint {endpoint!r} does not let requests pin version {version!r}; "
            "leave model_version empty.",
            endpoint=endpoint,
            version=version,
        )


class InvalidTensors(InvalidArgument):
    """The request's tensors do not fit the version's signature."""

    reason = "INVALID_TENSOR"

    def __init__(self, violations: Sequence[FieldViolation]) -> None:
        first = violations[0]
        more = f" ({len(violations) - 1} more)" if len(violations) > 1 else ""
        super().__init__(
            f"{first.field}: {first.description}{more}", violations=violations, tensor=first.field
        )


class UnsupportedParameter(InvalidArgument):
    """The request carries a parameter that this server does not act on."""

    reason = "UNSUPPORTED_PARAMETER"

    def __init__(self, parameter: str, description: str) -> None:
        super().__init__(
            f"Parameter {parameter!r}: {description}",
            violations=[FieldViolation(f"parameters[{parameter}]", description)],
            parameter=parameter,
        )


class ManagedByEndpoints(FailedPrecondition):
    """Endpoints own what this protocol method would change."""

    reason = "MANAGED_BY_ENDPOINTS"

    def __init__(self, method: str, instead: str) -> None:
        super().__init__(f"{method} is not available: {instead}", method=method)
