"""The CostService."""

from __future__ import annotations

from typing import Any, Final, TypeAlias

import grpc
from roundhouse.trainer.v1 import cost_service_pb2 as pb
from roundhouse.trainer.v1 import cost_service_pb2_grpc as pb_grpc
from roundhouse.trainer.v1 import job_pb2

from services.common.names import PROJECT
from services.common.rpc.convert import from_timestamp, to_duration, to_money, to_timestamp
from services.common.rpc.inputs import page_query
from services.trainer.api.convert import shown
from services.trainer.api.money import from_money
from services.trainer.api.transactions import Transactions
from services.trainer.core.costs import CostQuery, Grouping, OwnerBudget
from services.trainer.core.money import PriceTable, month_of
from services.trainer.core.ports import TrainerReads, TrainerTx
from services.trainer.core.use_cases import submission

_Context: TypeAlias = grpc.aio.ServicerContext[Any, Any]

_GROUPINGS: Final = {
    pb.QueryCostsRequest.GROUP_BY_UNSPECIFIED: Grouping.JOB,
    pb.QueryCostsRequest.GROUP_BY_JOB: Grouping.JOB,
    pb.QueryCostsRequest.GROUP_BY_ATTEMPT: Grouping.ATTEMPT,
    pb.QueryCostsRequest.GROUP_BY_MODEL: Grouping.MODEL,
    pb.QueryCostsRequest.GROUP_BY_OWNER: Grouping.OWNER,
    pb.QueryCostsRequest.GROUP_BY_MONTH: Grouping.MONTH,
}


class CostServicer(pb_grpc.CostServiceServicer):
    """What training costs, and what it may cost.

    Args:
        transactions: Over the trainer's rows.
        prices: That attempts are charged by.
    """

    def __init__(self, transactions: Transactions, prices: PriceTable) -> None:
        self._transactions = transactions
        self._prices = prices

    async def QueryCosts(self, request: pb.QueryCostsRequest, _: _Context) -> pb.QueryCostsResponse:
        """Sums what was charged."""
        query = CostQuery(
            project=request.parent,
            grouping=_GROUPINGS[request.group_by],
            job=request.training_job,
            model=request.model,
            owner=request.owner,
            month=request.month,
            start=from_timestamp(request.start_time) if request.HasField("start_time") else None,
            end=from_timestamp(request.end_time) if request.HasField("end_time") else None,
        )
        report = await self._transactions.read(lambda _, reads: reads.costs(query))
        currency = self._prices.currency
        return pb.QueryCostsResponse(
            lines=[
                pb.QueryCostsResponse.Line(
                    group=line.group,
                    cost=to_money(line.micros, currency),
                    charged=to_duration(line.seconds),
                )
                for line in report.lines
            ],
            total=to_money(report.total_micros, currency),
        )

    async def SetJobBudget(
        self, request: pb.SetJobBudgetRequest, _: _Context
    ) -> job_pb2.TrainingJob:
        """Changes the most that a job may cost."""
        currency = self._prices.currency
        micros = None
        if request.HasField("budget"):
            micros = from_money(request.budget, currency, "budget")

        def changed(tx: TrainerTx, reads: TrainerReads) -> job_pb2.TrainingJob:
            job = submission.set_budget(tx, request.name, micros, request.etag)
            return shown(job, reads, currency)

        return await self._transactions.mutate(request, job_pb2.TrainingJob, changed)

    async def SetOwnerBudget(
        self, request: pb.SetOwnerBudgetRequest, _: _Context
    ) -> pb.OwnerBudget:
        """Changes the most that an owner's jobs may cost in a month."""
        currency = self._prices.currency
        micros = None
        if request.HasField("monthly"):
            micros = from_money(request.monthly, currency, "monthly")

        def changed(tx: TrainerTx, _: object) -> pb.OwnerBudget:
            tx.set_owner_budget(request.parent, request.owner, micros)
            spent = tx.spent(request.parent, request.owner, month_of(tx.now))
            if micros is None:
                return pb.OwnerBudget(owner=request.owner, spent=to_money(spent, currency))
            return self._budget(OwnerBudget(request.owner, micros, spent, tx.now))

        return await self._transactions.mutate(request, pb.OwnerBudget, changed)

    async def ListOwnerBudgets(
        self, request: pb.ListOwnerBudgetsRequest, _: _Context
    ) -> pb.ListOwnerBudgetsResponse:
        """Lists a project's owners that have a budget."""
        query = page_query(request, PROJECT)
        page = await self._transactions.read(lambda _, reads: reads.owner_budgets(query))
        return pb.ListOwnerBudgetsResponse(
            owner_budgets=page.map(self._budget), next_page_token=page.next_page_token
        )

    async def GetPriceTable(self, request: pb.GetPriceTableRequest, _: _Context) -> pb.PriceTable:
        """Gives the prices that attempts are charged by."""
        prices = self._prices
        return pb.PriceTable(
            version=prices.version,
            cpu_core_second=to_money(prices.cpu_core_micros, prices.currency),
            memory_gib_second=to_money(prices.memory_gib_micros, prices.currency),
        )

    def _budget(self, budget: OwnerBudget) -> pb.OwnerBudget:
        currency = self._prices.currency
        return pb.OwnerBudget(
            owner=budget.owner,
            monthly=to_money(budget.monthly_micros, currency),
            spent=to_money(budget.spent_micros, currency),
            update_time=to_timestamp(budget.update_time),
        )
