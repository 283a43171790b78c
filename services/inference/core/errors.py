"""What the inference service refuses, and why: one class per reason."""

from __future__ import annotations

from collections.abc import Sequence

from services.common.errors import (
    AlreadyExists,
    DataLoss,
    DeadlineExceeded,
    FailedPrecondition,
    FieldViolation,
    InvalidArgument,
    NotFound,
    PreconditionViolation,
    ResourceExhausted,
    Unavailable,
)


class EndpointNotFound(NotFound):
    """No endpoint has this name."""

    reason = "ENDPOINT_NOT_FOUND"

    def __init__(self, name: str) -> None:
        super().__init__(f"Endpoint {name!r} does not exist.", name=name)


class RolloutNotFound(NotFound):
    """No rollout has this name."""

    reason = "ROLLOUT_NOT_FOUND"

    def __init__(self, name: str) -> None:
        super().__init__(f"Rollout {name!r} does not exist.", name=name)


class ShadowReportNotFound(NotFound):
    """No shadow report has this name."""

    reason = "SHADOW_REPORT_NOT_FOUND"

    def __init__(self, name: str) -> None:
        super().__init__(f"Shadow report {name!r} does not exist.", name=name)


class DrillNotFound(NotFound):
    """No drill has this name."""

    reason = "DRILL_NOT_FOUND"

    def __init__(self, name: str) -> None:
        super().__init__(f"Drill {name!r} does not exist.", name=name)


class DrillRunning(FailedPrecondition):
    """The endpoint has a drill under way."""

    reason = "DRILL_RUNNING"

    def __init__(self, endpoint: str, drill: str) -> None:
        text = f"{drill!r} is under way at {endpoint!r}; it ends by itself."
        super().__init__(
            text,
            violations=[PreconditionViolation("DRILL", endpoint, text)],
            name=endpoint,
            drill=drill,
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


class RolloutExists(AlreadyExists):
    """Another request created this rollout."""

    reason = "ROLLOUT_EXISTS"

    def __init__(self, name: str) -> None:
        super().__init__(f"Rollout {name!r} already exists.", name=name)


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


class InvalidPhases(InvalidArgument):
    """The rollout's phases do not lead up to the whole traffic."""

    reason = "INVALID_PHASES"

    def __init__(self, description: str) -> None:
        super().__init__(
            f"The phases are wrong: {description}",
            violations=[FieldViolation("phases", description)],
        )


class UnservableBundle(FailedPrecondition):
    """The version's bundle is intact but this server can't serve it."""

    reason = "BUNDLE_NOT_SERVABLE"

    def __init__(self, subject: str, description: str) -> None:
        super().__init__(
            f"{subject}: {description}",
            violations=[PreconditionViolation("BUNDLE", subject, description)],
            subject=subject,
        )


class BundleCorrupt(DataLoss):
    """A file of the bundle does not match its digest."""

    reason = "BUNDLE_CORRUPT"

    def __init__(self, version: str, path: str, expected: str, actual: str) -> None:
        super().__init__(
            f"{path} of {version} has digest {actual}, not {expected}.",
            version=version,
            path=path,
            expected=expected,
            actual=actual,
        )


class ManagedByEndpoints(FailedPrecondition):
    """Endpoints own what this protocol method would change."""

    reason = "MANAGED_BY_ENDPOINTS"

    def __init__(self, method: str, instead: str) -> None:
        super().__init__(f"{method} is not available: {instead}", method=method)


class IllegalRolloutMove(FailedPrecondition):
    """The rollout's life cycle has no such move."""

    reason = "ILLEGAL_STATE_TRANSITION"

    def __init__(self, name: str, current: str, requested: str) -> None:
        super().__init__(
            f"Rollout {name!r} is {current}; it can't become {requested}.",
            violations=[PreconditionViolation("STATE", name, f"{current} is not left for this")],
            name=name,
            current=current,
            requested=requested,
        )


class RolloutInProgress(FailedPrecondition):
    """The endpoint already has a rollout under way."""

    reason = "ROLLOUT_ACTIVE"

    def __init__(self, endpoint: str, rollout: str) -> None:
        super().__init__(
            f"Rollout {rollout!r} of endpoint {endpoint!r} is under way; wait for it or cancel it.",
            violations=[PreconditionViolation("STATE", rollout, "a rollout is under way")],
            name=endpoint,
            rollout=rollout,
        )


class NothingToRollBackTo(FailedPrecondition):
    """The endpoint holds no earlier version."""

    reason = "NO_ROLLBACK_TARGET"

    def __init__(self, endpoint: str) -> None:
        super().__init__(
            f"Endpoint {endpoint!r} holds no earlier version to go back to.", name=endpoint
        )


class VersionNotApproved(FailedPrecondition):
    """The approval does not cover this version's artifact."""

    reason = "APPROVAL_INVALID"

    def __init__(self, version: str, approval: str, description: str, *, cause: str) -> None:
        super().__init__(
            f"{approval or 'No approval'} does not allow {version} to roll out: {description}",
            violations=[PreconditionViolation(cause, version, description)],
            version=version,
            approval=approval,
            cause=cause,
        )


class VersionNotServable(FailedPrecondition):
    """The registry does not offer this version for serving, or it can't be loaded."""

    reason = "VERSION_NOT_SERVABLE"

    def __init__(self, version: str, description: str) -> None:
        super().__init__(
            f"{version!r} can't be served: {description}.",
            violations=[PreconditionViolation("VERSION", version, description)],
            version=version,
        )


class SignatureMismatch(FailedPrecondition):
    """Callers of the endpoint could not call the new version as they call the old."""

    reason = "SIGNATURE_MISMATCH"

    def __init__(self, version: str, name: str, description: str) -> None:
        super().__init__(
            f"Input {name!r} of {version!r} {description}; its callers would break.",
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


class AliasElsewhere(FailedPrecondition):
    """Somebody moved the alias that an endpoint keeps."""

    reason = "ALIAS_ELSEWHERE"

    def __init__(self, alias: str, version: str) -> None:
        super().__init__(
            f"Alias {alias!r} points at {version or 'nothing'}, which this endpoint did not serve.",
            violations=[PreconditionViolation("ALIAS", alias, f"it points at {version}")],
            alias=alias,
            version=version,
        )


class QueueFull(ResourceExhausted):
    """Too much waits already.

    Args:
        unit: What there is too much of: `rows`, `bytes`, or `ms` that the first has waited.
        waiting: So much.
        limit: At most so much may wait.
        retry_after_s: When there should be room.
    """

    reason = "QUEUE_FULL"

    def __init__(self, unit: str, waiting: int, limit: int, retry_after_s: float) -> None:
        super().__init__(
            f"{waiting} {unit} wait; at most {limit} may.",
            subject=f"queue {unit}",
            retry_after_s=retry_after_s,
            **{f"waiting_{unit}": str(waiting), f"limit_{unit}": str(limit)},
        )


class TooManyCalls(ResourceExhausted):
    """One caller has too many calls under way."""

    reason = "TOO_MANY_CALLS"

    def __init__(self, limit: int, retry_after_s: float) -> None:
        super().__init__(
            f"This caller has {limit} calls under way; no more may begin before one has ended.",
            subject="calls of one caller",
            retry_after_s=retry_after_s,
            limit_calls=str(limit),
        )


class QueueDeadlineExceeded(DeadlineExceeded):
    """The request's time ran out before a model could run it."""

    reason = "QUEUE_DEADLINE_EXCEEDED"

    def __init__(self) -> None:
        super().__init__("The deadline passed while the request waited for the model.")


class ModelUnavailable(Unavailable):
    """The model can't run now; the server is working on it."""

    reason = "MODEL_NOT_READY"

    def __init__(self, model: str, description: str) -> None:
        super().__init__(f"{model}: {description}", model=model)


class ModelFailed(FailedPrecondition):
    """The model ran and refused this input."""

    reason = "MODEL_FAILED"

    def __init__(self, model: str, description: str) -> None:
        super().__init__(f"{model} failed: {description}", model=model)


class VersionUnsigned(FailedPrecondition):
    """The version has no signature, and only signed ones are served."""

    reason = "VERSION_UNSIGNED"

    def __init__(self, version: str) -> None:
        text = f"{version!r} is not signed, and this server serves signed versions only."
        super().__init__(
            text, violations=[PreconditionViolation("SIGNED", version, text)], version=version
        )


class WrongSigningKey(FailedPrecondition):
    """The version was signed with another key than the trusted one.

    Args:
        version: That can't be served.
        key: sha256 of the signer's public key, as the signature claims.
        trusted: sha256 of the trusted one.
    """

    reason = "WRONG_SIGNING_KEY"

    def __init__(self, version: str, key: str, trusted: str) -> None:
        text = f"{version!r} is signed with the key {key}, and only {trusted} is trusted."
        super().__init__(
            text,
            violations=[PreconditionViolation("SIGNED", version, text)],
            version=version,
            key=key,
            trusted=trusted,
        )


class SignatureTampered(DataLoss):
    """The signature is not as its key made it."""

    reason = "SIGNATURE_TAMPERED"

    def __init__(self, version: str, fault: str) -> None:
        super().__init__(f"The signature of {version!r} is not genuine: {fault}.", version=version)


class SignatureOfAnotherVersion(FailedPrecondition):
    """An authentic signature that stands at the wrong version."""

    reason = "SIGNATURE_OF_ANOTHER_VERSION"

    def __init__(self, version: str, signed: str) -> None:
        text = f"The signature of {version!r} is genuine, and of {signed}."
        super().__init__(
            text,
            violations=[PreconditionViolation("SIGNED", version, text)],
            version=version,
            signed=signed,
        )
