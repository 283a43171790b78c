"""How a job that repeats another compares with it, for people."""

from __future__ import annotations

from typing import Final

from roundhouse.cli import names
from roundhouse.cli.output import OUT, print_table
from roundhouse.trainer.v1.job_pb2 import TrainingJob
from roundhouse.trainer.v1.reproduction_pb2 import Reproduction

GOOD: Final = frozenset({Reproduction.VERDICT_BIT_EQUAL, Reproduction.VERDICT_WITHIN_TOLERANCE})
"""Verdicts that say that it came to the same."""

_SAYS: Final = {
    Reproduction.VERDICT_UNSPECIFIED: "not compared yet",
    Reproduction.VERDICT_BIT_EQUAL: "the same to the last bit",
    Reproduction.VERDICT_WITHIN_TOLERANCE: "the same within {0.tolerance:g}",
    Reproduction.VERDICT_DIFFERENT: "different",
    Reproduction.VERDICT_UNKNOWN: "the same within {0.tolerance:g} in what is kept",
}


def sentence(job: TrainingJob) -> str:
    """What came of the repetition, and where the two runs parted; without a full stop."""
    found = job.reproduction
    said = f"repeats {names.short(job.reproduces)}: {_SAYS[found.verdict].format(found)}"
    if found.HasField("parted"):
        said += f"; they parted in {_subject(found.parted.subject)}, {_difference(found.parted)}"
    return said


def print_reproduction(job: TrainingJob) -> None:
    """Print that sentence, and a row for each subject."""
    OUT.print(f"{names.short(job.name)} {sentence(job)}.", markup=False, highlight=False)
    if not job.reproduction.comparisons:
        return
    print_table(
        ("subject", "outcome", "compared", "differ", "by at most", "first difference"),
        [
            (
                _subject(each.subject),
                _words(Reproduction.Outcome.Name(each.outcome), "OUTCOME_"),
                each.compared,
                each.differing,
                each.largest_difference,
                _difference(each.first) if each.HasField("first") else each.note,
            )
            for each in job.reproduction.comparisons
        ],
        title="Comparison",
    )


def _subject(subject: Reproduction.Subject.ValueType) -> str:
    return _words(Reproduction.Subject.Name(subject), "SUBJECT_")


def _words(name: str, prefix: str) -> str:
    return name.removeprefix(prefix).lower().replace("_", " ")


def _difference(found: Reproduction.Difference) -> str:
    """Such as `mlp-1, train_loss, step 3: 0.5 then, 0.25 now`."""
    place = [found.trial, found.item, f"step {found.step}" if found.step else ""]
    where = ", ".join(part for part in place if part)
    return f"{where}: {found.original or 'nothing'} then, {found.repeated or 'nothing'} now"
