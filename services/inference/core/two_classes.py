"""What only models of two classes can be asked for, and the refusal of it to all others.

Decision policies, fallbacks that decide, shadows, batch predictions and the monitor know one score:
the probability of class 1. A model of more classes, or of quantities, has none.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Final

from services.common.errors import FieldViolation, InvalidRequest
from services.inference.core.decisions import DecisionPolicy
from services.inference.core.endpoints import Endpoint
from services.inference.core.rollouts import OnInconclusive, Phase, PhaseKind
from services.inference.core.signature import Signature

_NOTHING_ASKED: Final = (DecisionPolicy(), DecisionPolicy(positive_action="", negative_action=""))
"""What endpoints have that name no policy."""


def check_endpoint(endpoint: Endpoint, signature: Signature) -> None:
    """Pass if `endpoint` asks nothing of a version with `signature` that it can't have.

    Raises:
        InvalidRequest: Naming each field that takes two classes, unless there are two.
    """
    if not signature.has_two_classes and (faults := list(_endpoint_faults(endpoint, signature))):
        raise InvalidRequest(faults)


def check_phases(phases: Sequence[Phase], signature: Signature) -> None:
    """Pass if a rollout to versions with `signature` can go through `phases`.

    Raises:
        InvalidRequest: Naming each phase that takes two classes, unless there are two.
    """
    if not signature.has_two_classes and (faults := list(_phase_faults(phases, signature))):
        raise InvalidRequest(faults)


def _endpoint_faults(endpoint: Endpoint, signature: Signature) -> Iterator[FieldViolation]:
    tells = signature.tells
    if replace(endpoint.policy, version=1) not in _NOTHING_ASKED:
        text = f"decides between two classes; the version tells {tells}"
        yield FieldViolation("endpoint.decision_policy", text)
    if endpoint.points_at is not None:
        text = f"decides between two classes; the version tells {tells}"
        yield FieldViolation("endpoint.policy_version", text)
    if endpoint.logs_observations:
        text = f"sends the probability of class 1; the version tells {tells}"
        yield FieldViolation("endpoint.log_observations", text)
    if endpoint.fallback is not None and endpoint.fallback.decision is not None:
        text = f"is a decision between two classes; the version tells {tells}: name a version"
        yield FieldViolation("fallback.decision", text)


def _phase_faults(phases: Sequence[Phase], signature: Signature) -> Iterator[FieldViolation]:
    for place, phase in enumerate(phases):
        field = f"rollout.phases[{place}]"
        if phase.kind is PhaseKind.SHADOW:
            text = f"compares scores of two classes; the versions tell {signature.tells}"
            yield FieldViolation(f"{field}.shadow", text)
        elif phase.kind is PhaseKind.CANARY and phase.on_inconclusive is not OnInconclusive.GO_ON:
            text = (
                f"waits for a verdict of the monitor, which knows two classes; the versions tell "
                f"{signature.tells}: take ON_INCONCLUSIVE_GO_ON"
            )
            yield FieldViolation(f"{field}.on_inconclusive", text)
