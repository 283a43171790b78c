"""What workers report while they train."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from services.trainer.core.errors import AttemptSuperseded
from services.trainer.core.jobs import MetricPoint, StoredCheckpoint, Trial
from services.trainer.core.ports import TrainerTx
from services.trainer.core.use_cases.attempts import Claim, guarded


@dataclass(frozen=True, slots=True)
class Report:
    """Points and log lines of one attempt.

    Attributes:
        sequence: Number of the report within the attempt, from 1.
        points: To be stored.
        log_lines: To be appended.
    """

    sequence: int
    points: Sequence[MetricPoint]
    log_lines: Sequence[str]


def take_report(tx: TrainerTx, claimed: Claim, report: Report) -> int:
    """Store a report, once; gives the sequence number of the newest that is stored.

    Raises:
        AttemptSuperseded: The claim is no longer good.
    """
    job = guarded(tx, claimed)
    attempt = job.attempts[-1]
    if report.sequence <= attempt.reported:
        return attempt.reported
    tx.put_points(job.uid, report.points)
    tx.append_log(job.uid, attempt.number, report.log_lines)
    tx.set_reported(job.uid, attempt.number, report.sequence)
    return report.sequence


def take_trial(tx: TrainerTx, claimed: Claim, trial: Trial) -> None:
    """Store how a trial stands; one that is over stays as it is.

    Raises:
        AttemptSuperseded: The claim is no longer good, or the job has no such trial.
    """
    job = guarded(tx, claimed)
    known = next((found for found in tx.trials(job.uid) if found.id == trial.id), None)
    if known is None:
        raise AttemptSuperseded(claimed.job, claimed.fence)
    if not known.state.over:
        tx.replace_trial(job.uid, replace(trial, index=known.index))


def take_checkpoint(tx: TrainerTx, claimed: Claim, checkpoint: StoredCheckpoint) -> None:
    """Make a checkpoint in the blob store known to later attempts.

    Raises:
        AttemptSuperseded: The claim is no longer good.
    """
    job = guarded(tx, claimed)
    tx.add_checkpoint(job.uid, replace(checkpoint, create_time=tx.now))
