"""The rows of each batch of a network, and what it loses on them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from services.trainer.adapters.learning.recipe import FitTask
from services.trainer.core.tasks import Task

if TYPE_CHECKING:
    import torch

PERMUTATION_STRIDE = 1_000_003
"""Keeps the permutations of one seed's epochs apart from those of the next seed."""


def tensors_of(task: FitTask) -> tuple[torch.Tensor, torch.Tensor]:
    """The rows, and their labels as `loss_of` takes them."""
    import torch

    label = task.label if task.soft_label is None else task.soft_label
    whole = task.task is Task.MULTICLASS
    return (
        torch.from_numpy(task.rows),
        torch.from_numpy(label if whole else label.astype(np.float32)),
    )


def batches_of(task: FitTask, epoch: int) -> tuple[torch.Tensor, ...]:
    """The positions of the rows in each batch of an epoch, from 0: every row is in one."""
    import torch

    seed = task.seed * PERMUTATION_STRIDE + epoch
    order = torch.randperm(len(task.rows), generator=torch.Generator().manual_seed(seed))
    return torch.split(order, task.whole("batch_rows"))


def loss_of(
    task: Task, outputs: torch.Tensor, label: torch.Tensor, reduction: str = "mean"
) -> torch.Tensor:
    """The `mean` or the `sum` of the losses of rows, of which a network says `outputs`."""
    from torch.nn import functional

    match task:
        case Task.BINARY:
            return functional.binary_cross_entropy_with_logits(
                outputs[:, 0], label, reduction=reduction
            )
        case Task.MULTICLASS:
            return functional.cross_entropy(outputs, label, reduction=reduction)
        case Task.REGRESSION:
            return functional.mse_loss(outputs[:, 0], label, reduction=reduction)
