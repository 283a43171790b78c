"""A job of a tree, as the rules of jobs see it."""

from __future__ import annotations

from typing import Final

from services.trainer.core.failures import ErrorClass
from services.trainer.core.jobs import JobError, TrainingJob
from services.trainer.core.parameters import ParameterRule
from services.trainer.core.states import STAGES
from services.trainer.core.use_cases import attempts, submission
from services.trainer.core.use_cases.attempts import Claim, Registered
from services.trainer.core.use_cases.submission import NewJob
from tests.support.trainer_memory import MemoryTrainerTx
from tests.support.trainer_values import JOB, TERMS, spec

RULES: Final = {"decision_tree": {"max_depth": ParameterRule(8, 1, 30, whole=True)}}
RESULT: Final = Registered("projects/default/models/delays/versions/1", "evaluation", "trial")
AWAY: Final = JobError(ErrorClass.DEPENDENCY_UNAVAILABLE, "the registry is away")


def submitted(tx: MemoryTrainerTx) -> TrainingJob:
    """A new job."""
    return submission.submit(tx, NewJob(JOB, {}, spec(), ""), RULES, TERMS)


def claimed(tx: MemoryTrainerTx, worker: str = "w1") -> Claim:
    """The worker's claim on it."""
    assignment = attempts.claim(tx, JOB, worker, TERMS)
    assert assignment is not None
    return assignment.claim


def through_all_stages(tx: MemoryTrainerTx, claim: Claim) -> None:
    """Its worker has done everything but finish."""
    for stage in STAGES:
        attempts.enter_stage(tx, claim, stage)
