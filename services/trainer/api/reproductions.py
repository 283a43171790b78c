"""Jobs that repeat others, as they are asked for."""

from __future__ import annotations

from collections.abc import Mapping

from roundhouse.trainer.v1 import job_pb2
from roundhouse.trainer.v1 import job_service_pb2 as pb

from services.common.names import parent_of
from services.trainer.api.admission import Admission
from services.trainer.api.convert import shown
from services.trainer.api.money import from_money
from services.trainer.api.naming import queue_id, traceparent
from services.trainer.api.transactions import Transactions
from services.trainer.core.errors import SourceGone, UnusableSnapshot
from services.trainer.core.jobs import TRAINING_JOB
from services.trainer.core.ports import Snapshots, VersionRecords
from services.trainer.core.reproduction import USUAL_TOLERANCE
from services.trainer.core.use_cases.reproducing import (
    Wish,
    check_recipes,
    repeat_of,
    reproduce,
    reproducible,
)
from services.trainer.core.use_cases.spending import Terms
from services.trainer.core.use_cases.submission import NewJob


class Reproductions:
    """Takes jobs that repeat others.

    Args:
        transactions: Over the trainer's rows.
        admission: Of every job.
        snapshots: That jobs are trained on.
        records: Of the versions that jobs have made.
        terms: That attempts work under.
        packages: Package and version that bring each algorithm there is.
    """

    def __init__(
        self,
        transactions: Transactions,
        admission: Admission,
        snapshots: Snapshots,
        records: VersionRecords,
        *,
        terms: Terms,
        packages: Mapping[str, str],
    ) -> None:
        self._transactions = transactions
        self._admission = admission
        self._snapshots = snapshots
        self._records = records
        self._terms = terms
        self._packages = packages

    async def submit(self, request: pb.ReproduceTrainingJobRequest) -> job_pb2.TrainingJob:
        """The job that repeats another.

        Raises:
            JobNotFound, JobUnfinished, JobIsReproduction: There is nothing to repeat.
            RecipeChanged, SourceGone, SnapshotHeld, InvalidSpec: It can't be repeated any more.
            JobExists, QueueNotFound, QueueTooSmall: It can't be queued so.
            Unavailable: The registry does not answer.
        """
        wish = self._wish(request)
        original = await self._transactions.read(lambda tx, _: reproducible(tx, request.name))
        made_with = await self._records.made_with(original.model_version)
        check_recipes(original, made_with, self._packages)
        new = repeat_of(original, made_with, wish)
        await self._check(new)
        if not request.validate_only:
            await self._pin(new)
        currency = self._terms.prices.currency
        return await self._transactions.mutate(
            request,
            job_pb2.TrainingJob,
            lambda tx, reads: shown(
                reproduce(tx, original.name, new, self._terms), reads, currency
            ),
        )

    def _wish(self, request: pb.ReproduceTrainingJobRequest) -> Wish:
        """What is asked for.

        Raises:
            InvalidName: `name` is of something else.
            InvalidRequest: The budget or the queue can't be had.
        """
        TRAINING_JOB.parse(request.name, field="name")
        project = parent_of(request.name)
        currency = self._terms.prices.currency
        return Wish(
            name=f"{project}/trainingJobs/{request.training_job_id}",
            tolerance=request.tolerance if request.HasField("tolerance") else USUAL_TOLERANCE,
            traceparent=traceparent(),
            owner=request.owner,
            budget_micros=(
                from_money(request.budget, currency, "budget")
                if request.HasField("budget")
                else None
            ),
            queue=queue_id(request.queue, project, "queue") if request.queue else "",
        )

    async def _check(self, new: NewJob) -> None:
        try:
            await self._snapshots.columns(new.spec.snapshot)
        except UnusableSnapshot as error:
            raise _gone(new, new.spec.snapshot, error) from error
        await self._admission.check(new.spec)

    async def _pin(self, new: NewJob) -> None:
        for target in new.spec.relies_on.values():
            try:
                await self._snapshots.pin(target, new.name)
            except UnusableSnapshot as error:
                raise _gone(new, target, error) from error


def _gone(new: NewJob, source: str, cause: UnusableSnapshot) -> SourceGone:
    original = "" if new.reproduction is None else new.reproduction.original
    return SourceGone(original, source, str(cause))
