"""Training jobs, their attempts and trials, as values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final, NamedTuple

from services.common.etags import etag_of
from services.common.names import ResourceName, parent_of
from services.trainer.core.cross_validation import FoldScores, means
from services.trainer.core.errors import IllegalTransition
from services.trainer.core.failures import ErrorClass
from services.trainer.core.gains import Gain
from services.trainer.core.parameters import Parameters
from services.trainer.core.queues import DEFAULT_QUEUE, queue_name
from services.trainer.core.reproduction import Reproduction
from services.trainer.core.spec import JobSpec
from services.trainer.core.states import MOVES, AttemptState, JobState, TrialState

TRAINING_JOB = ResourceName("projects/{project}/trainingJobs/{training_job}")
TRIAL = ResourceName("projects/{project}/trainingJobs/{training_job}/trials/{trial}")

NOBODY = "nobody"
"""Who pays for jobs that name no owner."""

RETRAIN = "retrain"
"""What the winner's retraining is called where a trial's id is asked for."""


@dataclass(frozen=True, slots=True)
class JobError:
    """Why a job or an attempt failed."""

    error_class: ErrorClass
    message: str


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try at running a job.

    Attributes:
        number: From 1 up.
        worker: Who ran it.
        fence: Of its lease; 0 for an attempt whose worker never claimed.
        state: Where it stands.
        start_time: When it was claimed.
        end_time: When it ended.
        error: Why it ended badly.
        reported: Sequence number of the newest report that is stored.
        rate_micros: Millionths a second that it costs.
        price_version: Of the price table.
        charged_s: Seconds from its start that are charged.
        granted_s: Seconds from its start after which its worker ends without another grant.
        node: Machine that its worker ran on; empty if that is not known.
        share: Part of the machine that it takes.
    """

    number: int
    worker: str
    fence: int
    state: AttemptState
    start_time: datetime
    end_time: datetime | None = None
    error: JobError | None = None
    reported: int = 0
    rate_micros: int = 0
    price_version: str = ""
    charged_s: int = 0
    granted_s: int = 0
    node: str = ""
    share: float = 0.0


@dataclass(frozen=True, slots=True)
class TrainingJob:
    """One training run.

    Attributes:
        name: Resource name.
        uid: Unique for all time.
        revision: Grows with each write.
        create_time: When it was submitted.
        update_time: When it last changed.
        labels: The user's.
        spec: What to train.
        state: Where it stands.
        pause_requested: It is to stop at its next trial or checkpoint.
        ready_time: When a queued job may be claimed; later than now after a failed attempt.
        attempts: Oldest first.
        model_version: The registered version; empty until it has succeeded.
        evaluation: The test part's evaluation; empty until it has succeeded.
        best_trial: The trial that won; empty until it has succeeded.
        error: Why it failed.
        correlation_id: Episode that it belongs to.
        submit_event: Id of the event of its submission.
        traceparent: W3C trace context of its submission; may be empty.
        owner: Who pays.
        budget_micros: The most that it may cost; None means no limit of its own.
        estimate_micros: What it was expected to cost.
        priority: 0 to 100; higher goes first.
        preempt_requested: It is to make room at its next trial or checkpoint.
        budget_reached: It is to stop at its next trial or checkpoint, for a budget.
        critical: It is started also while its project is frozen.
        queue: Id of the queue that it waits in.
        reproduction: How it compares with the job that it repeats; None unless it repeats one.
    """

    name: str
    uid: str
    revision: int
    create_time: datetime
    update_time: datetime
    labels: Mapping[str, str]
    spec: JobSpec
    state: JobState
    pause_requested: bool
    ready_time: datetime
    attempts: tuple[Attempt, ...] = ()
    model_version: str = ""
    evaluation: str = ""
    best_trial: str = ""
    error: JobError | None = None
    correlation_id: str = ""
    submit_event: str = ""
    traceparent: str = ""
    owner: str = NOBODY
    budget_micros: int | None = None
    estimate_micros: int = 0
    budget_reached: bool = False
    priority: int = 0
    preempt_requested: bool = False
    critical: bool = False
    queue: str = DEFAULT_QUEUE
    reproduction: Reproduction | None = None

    @property
    def reproduces(self) -> str:
        """Job that it repeats, by resource name; empty of one that makes a version."""
        return "" if self.reproduction is None else self.reproduction.original

    @property
    def queue_name(self) -> str:
        """Resource name of the queue that it waits in."""
        return queue_name(parent_of(self.name), self.queue)

    @property
    def trace_id(self) -> str:
        """Of its submission, 32 hex digits; empty if that was in no trace."""
        return self.traceparent.split("-")[1] if self.traceparent else ""

    @property
    def cost_micros(self) -> int:
        """What it has cost so far."""
        return sum(attempt.charged_s * attempt.rate_micros for attempt in self.attempts)

    @property
    def reserved_micros(self) -> int:
        """What of its estimate is not spent yet, within its own budget."""
        expected = self.estimate_micros
        if self.budget_micros is not None:
            expected = min(expected, self.budget_micros)
        return max(0, expected - self.cost_micros)

    @property
    def outstanding_micros(self) -> int:
        """What counts as spent for others while it runs: what is reserved, or more if granted."""
        attempt = self.running_attempt
        if attempt is None:
            return 0
        beyond = (attempt.granted_s - attempt.charged_s) * attempt.rate_micros
        return max(self.reserved_micros, beyond)

    def with_last_attempt(self, attempt: Attempt) -> TrainingJob:
        """This job with its newest attempt changed."""
        return replace(self, attempts=(*self.attempts[:-1], attempt))

    @property
    def etag(self) -> str:
        """Changes with each write."""
        return etag_of(self.uid, self.revision)

    @property
    def running_attempt(self) -> Attempt | None:
        """The attempt that a worker is on."""
        if self.attempts and self.attempts[-1].state is AttemptState.RUNNING:
            return self.attempts[-1]
        return None

    @property
    def failed_attempts(self) -> int:
        """Attempts that count against `max_attempts`: a preemption is no failure."""
        failed = (AttemptState.FAILED, AttemptState.LOST)
        return sum(attempt.state in failed for attempt in self.attempts)

    def moved_to(self, state: JobState) -> TrainingJob:
        """This job in `state`.

        Raises:
            IllegalTransition: There is no such move.
        """
        if state not in MOVES[self.state]:
            raise IllegalTransition(self.name, self.state, state)
        return replace(self, state=state)

    def touched(self, now: datetime) -> TrainingJob:
        """This job as the next revision."""
        return replace(self, revision=self.revision + 1, update_time=now)


@dataclass(frozen=True, slots=True)
class Trial:
    """One training within a job: of a candidate, or of what tuning chose for it.

    Attributes:
        id: Last part of its name.
        index: Position among the job's trials, from 0.
        algorithm: What it trains.
        parameters: All its parameters.
        state: Where it stands.
        progress: Share of its training done, 0 to 1.
        metrics: Validation scores.
        duration_s: Time that it trained for, over all attempts.
        message: Why it failed or was stopped early.
        chosen_parameters: What to retrain it with; empty until it has succeeded.
        candidate: Position of its candidate in the spec, from 0.
        folds: What it scored on the folds that are done.
        gains: Over the trivial baseline, by metric; empty until it is trained.
    """

    id: str
    index: int
    algorithm: str
    parameters: Parameters
    state: TrialState = TrialState.PENDING
    progress: float = 0.0
    metrics: Mapping[str, float] = field(default_factory=dict)
    duration_s: float = 0.0
    message: str = ""
    chosen_parameters: Parameters = field(default_factory=dict)
    candidate: int = 0
    folds: tuple[FoldScores, ...] = ()
    gains: Mapping[str, Gain] = field(default_factory=dict)

    @property
    def deciding_metrics(self) -> Mapping[str, float]:
        """What it is compared by: the means over its folds, without any its validation scores."""
        return means(self.folds) or self.metrics

    def is_older_than(self, known: Trial) -> bool:
        """Whether this tells less than `known`: its training not over, or fewer folds."""
        return (bool(self.chosen_parameters), len(self.folds)) < (
            bool(known.chosen_parameters),
            len(known.folds),
        )


STEP_SECONDS: Final = "step_s"
CHECKPOINT_SECONDS: Final = "checkpoint_s"
CHECKPOINT_BYTES: Final = "checkpoint_bytes"
WORKERS: Final = "workers"
RUN_SERIES: Final = frozenset({STEP_SECONDS, CHECKPOINT_SECONDS, CHECKPOINT_BYTES, WORKERS})
"""Series of how a trial ran. They are others in each run; those of what was learned are not."""


class MetricPoint(NamedTuple):
    """One point of a series; a tuple, since a report makes thousands, each at half the cost.

    Attributes:
        trial: Trial's id, or `retrain`.
        series: Such as `train_loss` or `validation_auc`.
        step: Epoch or iteration, from 0.
        value: Finite or not.
        time: When it was measured.
    """

    trial: str
    series: str
    step: int
    value: float
    time: datetime


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line of a job's log; `number` counts from 1 without gaps."""

    number: int
    time: datetime
    attempt: int
    text: str


@dataclass(frozen=True, slots=True)
class StoredCheckpoint:
    """A checkpoint in the blob store.

    Attributes:
        trial: Trial's id, or `retrain`.
        step: Steps done.
        digest: `sha256:` and 64 hex digits of its bytes.
        size_bytes: Size of its bytes.
        create_time: When it was committed.
        loss: Metric that decides at its step, lower is better; None where none is measured.
    """

    trial: str
    step: int
    digest: str
    size_bytes: int
    create_time: datetime
    loss: float | None = None


KEPT_CHECKPOINTS: Final = 3
"""Newest ones of a trial that are kept: should the newest be damaged, those before it serve."""


def superseded(checkpoints: Sequence[StoredCheckpoint]) -> list[StoredCheckpoint]:
    """Which of one trial's checkpoints nobody needs: all but the newest few and the best."""
    newest = sorted(checkpoints, key=lambda each: -each.step)
    kept = newest[:KEPT_CHECKPOINTS]
    scored = [each for each in newest if each.loss is not None]
    if scored:
        kept.append(min(scored, key=lambda each: (each.loss or 0.0, each.step)))
    return [each for each in newest if each not in kept]


def checkpoint_folder(job_uid: str) -> str:
    """Prefix of the keys of a job's checkpoints in the blob store."""
    return f"checkpoints/{job_uid}/"


def checkpoint_key(job_uid: str, trial: str, digest: str) -> str:
    """Key of one checkpoint in the blob store."""
    return f"{checkpoint_folder(job_uid)}{trial}/{digest.removeprefix('sha256:')}"


def trial_id(index: int, algorithm: str) -> str:
    """Id of the trial at `index`, such as `random-forest-3`."""
    return f"{algorithm.replace('_', '-')}-{index + 1}"


def share_done(state: JobState, trained: float) -> float:
    """How much of a job is done, 0 to 1, by what its stages take on some months of flights.

    Args:
        state: Where it stands.
        trained: Mean progress of its trials, 0 to 1.
    """
    match state:
        case JobState.SUCCEEDED:
            return 1.0
        case JobState.REGISTERING:
            return 0.95
        case JobState.EVALUATING:
            return 0.75
        case _:
            return 0.75 * trained
