"""What is refused about endpoints and what they are told to do."""

from __future__ import annotations

from services.common.errors import (
    AlreadyExists,
    FailedPrecondition,
    FieldViolation,
    InvalidArgument,
    NotFound,
    PreconditionViolation,
)


class EndpointNotFound(NotFound):
    """No endpoint has this name."""

    reason = "ENDPOINT_NOT_FOUND"

    def __init__(self, name: str) -> None:
        super().__init__(f"Endpoint {name!r} does not exist.", name=name)


class PolicyVersionNotFound(NotFound):
    """No policy version has this name."""

    reason = "POLICY_VERSION_NOT_FOUND"

    def __init__(self, name: str) -> None:
        super().__init__(f"Policy version {name!r} does not exist.", name=name)


class EndpointExists(AlreadyExists):
    """Another request created this endpoint."""

    reason = "ENDPOINT_EXISTS"

    def __init__(self, name: str) -> None:
        super().__init__(f"Endpoint {name!r} already exists.", name=name)


class InvalidWeights(InvalidArgument):
    """The variants' weights are not a split of the traffic."""

    reason = "INVALID_WEIGHTS"

    def __init__(self, description: str) -> None:
        super().__init__(
            f"The variants' weights are wrong: {description}",
            violations=[FieldViolation("variants", description)],
        )


class InvalidPolicy(InvalidArgument):
    """The decision policy contradicts itself."""

    reason = "INVALID_DECISION_POLICY"

    def __init__(self, field: str, description: str) -> None:
        super().__init__(f"{field}: {description}", violations=[FieldViolation(field, description)])


class InvalidObservationRules(InvalidArgument):
    """What is to be observed contradicts itself, or the version's inputs."""

    reason = "INVALID_OBSERVATION_RULES"

    def __init__(self, field: str, description: str) -> None:
        where = f"endpoint.observation_rules.{field}"
        super().__init__(f"{where}: {description}", violations=[FieldViolation(where, description)])


class InvalidFallback(InvalidArgument):
    """The fallback is no answer."""

    reason = "INVALID_FALLBACK"

    def __init__(self, field: str, description: str) -> None:
        super().__init__(
            f"fallback.{field}: {description}",
            violations=[FieldViolation(f"fallback.{field}", description)],
        )


class RedactionKeyMissing(FailedPrecondition):
    """Digests of features need a key that the service was not given."""

    reason = "REDACTION_KEY_MISSING"

    def __init__(self, feature: str) -> None:
        text = (
            f"A digest of {feature!r} needs the setting redaction_key; set it, or drop {feature!r}."
        )
        super().__init__(
            text,
            violations=[PreconditionViolation("SETTING", "redaction_key", text)],
            feature=feature,
        )


class SignatureMismatch(FailedPrecondition):
    """Callers of the endpoint could not call the new version as they call the old."""

    reason = "SIGNATURE_MISMATCH"

    def __init__(self, version: str, name: str, description: str, side: str = "Input") -> None:
        super().__init__(
            f"{side} {name!r} of {version!r} {description}; its callers would break.",
            violations=[PreconditionViolation("SIGNATURE", name, description)],
            version=version,
            input=name,
        )


class RuntimeNotConfigured(FailedPrecondition):
    """The service has no such runtime."""

    reason = "RUNTIME_NOT_CONFIGURED"

    def __init__(self, runtime: str) -> None:
        super().__init__(
            f"This service runs no {runtime}; configure it, or choose another runtime.",
            violations=[PreconditionViolation("RUNTIME", runtime, "it is not configured")],
            runtime=runtime,
        )
