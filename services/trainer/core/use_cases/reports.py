"""What workers report while they train."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from services.common.causality import caused_by
from services.trainer.core.errors import AttemptSuperseded, InvalidProposal
from services.trainer.core.jobs import (
    MetricPoint,
    StoredCheckpoint,
    Trial,
    superseded,
    trial_id,
)
from services.trainer.core.parameters import Rules, completed
from services.trainer.core.ports import TrainerTx
from services.trainer.core.search import Proposal, tuned
from services.trainer.core.search_space import contains
from services.trainer.core.use_cases.attempts import Claim, guarded


@dataclass(frozen=True, slots=True)
class Report:
    """Points, log lines and trials of one attempt.

    Attributes:
        sequence: Number of the report within the attempt, from 1.
        points: To be stored.
        log_lines: To be appended.
        trials: As they stand.
    """

    sequence: int
    points: Sequence[MetricPoint]
    log_lines: Sequence[str]
    trials: Sequence[Trial] = ()


def take_report(tx: TrainerTx, claimed: Claim, report: Report) -> int:
    """Store a report, once; gives the sequence number of the newest that is stored.

    Raises:
        AttemptSuperseded: The claim is no longer good, or the job has no such trial.
    """
    job = guarded(tx, claimed)
    attempt = job.attempts[-1]
    if report.sequence <= attempt.reported:
        return attempt.reported
    tx.put_points(job.uid, report.points)
    tx.append_log(job.uid, attempt.number, report.log_lines)
    for trial in report.trials:
        _take(tx, claimed, job.uid, trial)
    tx.set_reported(job.uid, attempt.number, report.sequence)
    return report.sequence


def add_trial(
    tx: TrainerTx, claimed: Claim, proposal: Proposal, position: int, recipes: Mapping[str, Rules]
) -> Trial:
    """The trial at `position`: of `proposal` if it is the next one, else as it is stored.

    Raises:
        AttemptSuperseded: The claim is no longer good.
        InvalidProposal: The job's tuning could not choose it, or it is not the next one.
    """
    job = guarded(tx, claimed)
    trials = tx.trials(job.uid)
    if position < len(trials):
        return trials[position]
    if position > len(trials):
        raise InvalidProposal(job.name, "position", f"is {position}; the job has {len(trials)}")
    if job.reproduction is not None:
        raise InvalidProposal(job.name, "position", "is beyond the trials of the job it repeats")
    if job.spec.tuning is None or len(tuned(job.spec, trials)) >= job.spec.tuning.max_trials:
        raise InvalidProposal(job.name, "position", "is beyond the trials of its tuning")
    candidates = job.spec.candidates
    if not (proposal.candidate < len(candidates) and candidates[proposal.candidate].space):
        raise InvalidProposal(job.name, "candidate", "names none with a search space")
    candidate = candidates[proposal.candidate]
    if not contains(candidate.space, proposal.parameters):
        raise InvalidProposal(job.name, "parameters", "lie outside of the search space")
    trial = Trial(
        id=trial_id(position, candidate.algorithm),
        index=position,
        algorithm=candidate.algorithm,
        parameters=completed(
            {**candidate.parameters, **proposal.parameters}, recipes[candidate.algorithm]
        ),
        candidate=proposal.candidate,
    )
    tx.add_trials(job.uid, [trial])
    return trial


def take_trial(tx: TrainerTx, claimed: Claim, trial: Trial) -> None:
    """Store how a trial stands, unless it is over or known to be further.

    Raises:
        AttemptSuperseded: The claim is no longer good, or the job has no such trial.
    """
    _take(tx, claimed, guarded(tx, claimed).uid, trial)


def take_checkpoint(
    tx: TrainerTx, claimed: Claim, checkpoint: StoredCheckpoint
) -> list[StoredCheckpoint]:
    """Make a checkpoint in the blob store known to later attempts; gives those it supersedes.

    Superseded ones are forgotten first, then removed from the blob store: nothing that is known
    is ever missing.

    Raises:
        AttemptSuperseded: The claim is no longer good.
    """
    job = guarded(tx, claimed)
    tx.add_checkpoint(job.uid, replace(checkpoint, create_time=tx.now))
    known = [each for each in tx.checkpoints(job.uid) if each.trial == checkpoint.trial]
    gone = superseded(known)
    for each in gone:
        tx.remove_checkpoint(job.uid, each)
    needed = {each.digest for each in known if each not in gone}
    return [each for each in gone if each.digest not in needed]


def reject_checkpoint(
    tx: TrainerTx, claimed: Claim, checkpoint: StoredCheckpoint, cause: str
) -> None:
    """Forget a checkpoint that can't be restored, and say so; a repeat changes nothing.

    Raises:
        AttemptSuperseded: The claim is no longer good.
    """
    job = guarded(tx, claimed)
    same = (checkpoint.trial, checkpoint.step, checkpoint.digest)
    for each in tx.checkpoints(job.uid):
        if (each.trial, each.step, each.digest) == same:
            tx.remove_checkpoint(job.uid, each)
            data = {"trial": each.trial, "step": each.step, "digest": each.digest, "cause": cause}
            with caused_by(job.correlation_id, job.submit_event):
                tx.tell("checkpoint.damaged", job.name, data)


def _take(tx: TrainerTx, claimed: Claim, job_uid: str, trial: Trial) -> None:
    known = tx.trial(job_uid, trial.id)
    if known is None:
        raise AttemptSuperseded(claimed.job, claimed.fence)
    if not known.state.over and not trial.is_older_than(known):
        tx.replace_trial(job_uid, replace(trial, index=known.index, candidate=known.candidate))
