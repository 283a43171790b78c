"""Where trials run: in a thread of the worker, or in processes of their own beside it.

A lane's process is forked before the worker has any thread, waits for the data, then runs one
trial after the other. It speaks to the worker alone, over a pipe: each step and each checkpoint is
answered before the trial goes on. It ends with the worker, whatever ends that.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection
from multiprocessing.context import ForkProcess
from typing import Any, Protocol

from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # ships no types

from services.trainer.adapters.learning.crew import Crew
from services.trainer.adapters.learning.encoding import TextReader
from services.trainer.adapters.learning.parent import Parent
from services.trainer.adapters.learning.recipe import Checkpoint, FitObserver, Recipe, Step
from services.trainer.adapters.learning.shrinking import ShrinkingBench, ShrunkModel
from services.trainer.adapters.learning.trials import TrainedModel, Workbench
from services.trainer.adapters.recipes import load_recipes
from services.trainer.adapters.worker.limits import end_with, yield_to_services
from services.trainer.core.cross_validation import FoldScores
from services.trainer.core.failures import OutOfMemory, WorkerLost
from services.trainer.core.jobs import Trial
from services.trainer.core.selection import TrialOutcome
from services.trainer.core.spec import JobSpec
from services.trainer.core.splits import Split
from services.trainer.core.tables import Table


@dataclass(frozen=True, slots=True)
class _RunTrial:
    """Asks a lane's process to run a trial."""

    trial: Trial
    resume_from: Checkpoint | None


@dataclass(frozen=True, slots=True)
class _RunFold:
    """Asks a lane's process to run one fold of a trial."""

    trial: Trial
    number: int


@dataclass(frozen=True, eq=False)
class TrialData:
    """What every lane is given before its first trial.

    Attributes:
        spec: Of the job.
        table: The snapshot.
        split: Its parts.
        parent: The version that the job takes over from; None with `Mode.FULL`.
        reader: Of the text; None where the spec has none.
    """

    spec: JobSpec
    table: Table
    split: Split
    parent: Parent | None
    reader: TextReader | None = None

    def bench(self, recipes: Mapping[str, Recipe], cores: int, crew: Crew | None = None) -> Bench:
        """Where the trials are run, by at most so many threads, of the crew where there is one.

        Raises:
            DataFault, UnusableParent: As `Workbench` and `ShrinkingBench` do.
        """
        if self.parent is not None and self.spec.mode.keeps_the_graph:
            return ShrinkingBench(
                self.spec, self.table, self.split, parent=self.parent, reader=self.reader
            )
        return Workbench(
            self.spec,
            recipes,
            self.table,
            self.split,
            cores=cores,
            parent=self.parent,
            reader=self.reader,
            crew=crew,
        )


class Lane(Protocol):
    """Runs one trial at a time; blocks its thread meanwhile."""

    def run_trial(
        self, trial: Trial, observer: FitObserver, resume_from: Checkpoint | None
    ) -> TrialOutcome:
        """The trial, trained on the train part and scored on validation.

        Raises:
            NanLoss: It can't be trained with its parameters.
            OutOfMemory: It needs more memory than there is.
            WorkerLost: The lane's process is gone; the lane is of no more use.
        """
        ...

    def run_fold(self, trial: Trial, number: int, observer: FitObserver) -> FoldScores:
        """The trial, trained and judged on fold `number` of the train part, from 0.

        Raises:
            NanLoss, OutOfMemory, WorkerLost: As `run_trial`.
        """
        ...


class Bench(Lane, Protocol):
    """Runs trials, and the winner once more."""

    def of_train(self, winner: TrialOutcome, observer: FitObserver) -> TrainedModel | ShrunkModel:
        """The winner as the validation part judged it: no row of that has taught it."""
        ...

    def retrain(
        self, winner: TrialOutcome, observer: FitObserver, resume_from: Checkpoint | None
    ) -> TrainedModel | ShrunkModel:
        """What is registered for the winner."""
        ...


class ProcessLane:
    """A process that runs trials.

    Args:
        process: Already started.
        connection: To it.
    """

    def __init__(self, process: ForkProcess, connection: Connection) -> None:
        self._process = process
        self._connection = connection

    def open(self, data: TrialData, cores: int) -> None:
        """Hand over the data.

        Raises:
            WorkerLost: The process is gone.
        """
        self._send((data, cores))

    def run_trial(
        self, trial: Trial, observer: FitObserver, resume_from: Checkpoint | None
    ) -> TrialOutcome:
        """The trial, trained on the train part and scored on validation.

        Raises:
            NanLoss, OutOfMemory, WorkerLost: As `Lane` says; and whatever `observer` raises.
        """
        outcome: TrialOutcome = self._ask(_RunTrial(trial, resume_from), observer)
        return outcome

    def run_fold(self, trial: Trial, number: int, observer: FitObserver) -> FoldScores:
        """The trial, trained and judged on fold `number` of the train part, from 0.

        Raises:
            NanLoss, OutOfMemory, WorkerLost: As `Lane` says; and whatever `observer` raises.
        """
        scores: FoldScores = self._ask(_RunFold(trial, number), observer)
        return scores

    def close(self) -> None:
        """End the process."""
        self._connection.close()
        self._process.kill()
        self._process.join()

    def _ask(self, question: _RunTrial | _RunFold, observer: FitObserver) -> Any:  # its own answer
        self._send(question)
        while True:
            match self._receive():
                case Step() as step:
                    self._answer(partial(observer.stepped, step))
                case Checkpoint() as checkpoint:
                    self._answer(partial(observer.save, checkpoint))
                case TrialOutcome() | FoldScores() as outcome:
                    return outcome
                case BaseException() as error:
                    raise error

    def _answer(self, hear: Callable[[], None]) -> None:
        """Let the trial go on, or let it unwind with what `hear` raised."""
        try:
            hear()
        except Exception as error:  # noqa: BLE001 - the trial must end, and passes it back
            self._send(error)
        else:
            self._send(None)

    def _send(self, message: object) -> None:
        try:
            self._connection.send(message)
        except OSError as error:
            raise self._lost() from error

    def _receive(self) -> object:
        try:
            return self._connection.recv()
        except (EOFError, OSError) as error:
            raise self._lost() from error

    def _lost(self) -> WorkerLost:
        self._process.join()
        return WorkerLost(f"a process that runs trials ended with status {self._process.exitcode}")


class Lanes:
    """Every lane of a worker.

    Args:
        processes: Lanes of their own; none when trials run in the worker itself.
    """

    def __init__(self, processes: Sequence[ProcessLane]) -> None:
        self._processes = processes
        self.free: Sequence[Lane] = processes

    def open(self, data: TrialData, bench: Bench, cores: int) -> None:
        """Make the lanes ready; `bench` serves when there is no process."""
        if not self._processes:
            self.free = [bench]
            return
        for lane in self._processes:
            lane.open(data, max(1, cores // len(self._processes)))

    def close(self) -> None:
        """End every process."""
        for lane in self._processes:
            lane.close()


def forked_lanes(count: int) -> Lanes:
    """So many lanes; a single one needs no process. Call it before any thread is started."""
    lanes: list[ProcessLane] = []
    ours: list[Connection] = []
    context = multiprocessing.get_context("fork")
    for _ in range(count if count > 1 else 0):
        mine, theirs = context.Pipe()
        ours.append(mine)
        process = context.Process(target=_serve, args=(theirs, list(ours)))
        process.start()
        theirs.close()
        lanes.append(ProcessLane(process, mine))
    return Lanes(lanes)


class PipeObserver:
    """Passes what a fit tells on to the worker, and waits for its answer.

    Args:
        connection: To the worker.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def stepped(self, step: Step) -> None:
        """Report a step."""
        self._told(step)

    def save(self, checkpoint: Checkpoint) -> None:
        """Have a checkpoint kept."""
        self._told(checkpoint)

    def _told(self, message: Step | Checkpoint) -> None:
        self._connection.send(message)
        answer = self._connection.recv()
        if answer is not None:
            raise answer


def _serve(connection: Connection, inherited: Sequence[Connection]) -> None:
    for other in inherited:
        other.close()
    # Nobody is left to hear of the trial then; its checkpoints are with the trainer.
    end_with(connection)
    yield_to_services()
    try:
        data: TrialData
        data, cores = connection.recv()
        bench = data.bench(load_recipes(), cores)
        with threadpool_limits(cores):
            while True:
                question = connection.recv()
                connection.send(_run(bench, question, PipeObserver(connection)))
    except EOFError:
        return


def _run(
    bench: Bench, question: _RunTrial | _RunFold, observer: FitObserver
) -> TrialOutcome | FoldScores | Exception:
    try:
        match question:
            case _RunTrial(trial, resume_from):
                return bench.run_trial(trial, observer, resume_from)
            case _RunFold(trial, number):
                return bench.run_fold(trial, number, observer)
    except MemoryError:
        return OutOfMemory(f"{question.trial.id} ran out of memory")
    except EOFError:
        raise
    except Exception as error:  # noqa: BLE001 - the worker decides what becomes of it
        return error
