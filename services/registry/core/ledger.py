"""The ledger of test sets: who has seen which rows, and who may not see them again.

A test set says something about a candidate only once: whoever chooses by it, or trains a
successor after a look at it, measures how well the test set was learned (Dwork et al., The
reusable holdout, Science 349, 2015).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import assert_never

from services.registry.core.errors import SecondTouch, SelectionOnTestSet
from services.registry.core.evaluations import Purpose


@dataclass(frozen=True, slots=True)
class Touch:
    """One look at the rows of a split.

    Attributes:
        snapshot: That the rows are from, by resource name.
        data_digest: Of the snapshot's files: with it, equal split digests are equal rows.
        lineage: The version, those that it descends from, and the jobs that made them.
        training_job: That made the version; may be empty.
    """

    snapshot: str
    data_digest: str
    split: str
    split_digest: str
    purpose: Purpose
    version: str
    training_job: str
    lineage: tuple[str, ...]
    evaluation: str
    evaluator: str
    time: datetime

    def is_kin_of(self, other: Touch) -> bool:
        """Whether one of the two versions is, or descends from, the other or the other's job."""
        return self._descends_from(other) or other._descends_from(self)

    def _descends_from(self, other: Touch) -> bool:
        return any(name in self.lineage for name in (other.version, other.training_job) if name)


def check_touch(touch: Touch, earlier: Sequence[Touch]) -> None:
    """Pass a look at rows that the earlier looks at the same rows leave open.

    Rows that were tested on are not selected on, by anyone. A candidate is tested once on
    rows that neither it, nor its ancestors, descendants or siblings out of one job were
    tested or selected on; nor was it scored there before for another purpose, which would
    be a first look. A baseline, or a version that is only watched, may see them.

    Args:
        touch: What is about to happen.
        earlier: Every touch of the same data and split digest.

    Raises:
        SecondTouch: It would be the lineage's second look.
        SelectionOnTestSet: Rows would be selected on and tested on.
    """
    match touch.purpose:
        case Purpose.SELECTION:
            for past in earlier:
                if past.purpose in (Purpose.TEST, Purpose.BASELINE):
                    raise SelectionOnTestSet(
                        touch.version, touch.split_digest, past.version, past.evaluation
                    )
        case Purpose.TEST:
            for past in earlier:
                _check_test(touch, past)
        case Purpose.BASELINE | Purpose.MONITORING:
            pass
        case _:
            assert_never(touch.purpose)


def _check_test(touch: Touch, past: Touch) -> None:
    if past.purpose is Purpose.SELECTION and touch.is_kin_of(past):
        raise SelectionOnTestSet(touch.version, touch.split_digest, past.version, past.evaluation)
    is_look = past.purpose is Purpose.TEST and touch.is_kin_of(past)
    if is_look or past.version == touch.version:
        raise SecondTouch(touch.version, touch.split_digest, past.version, past.evaluation)
