"""Batches in shards, whose gradients any worker may compute: the bits are the same.

Each shard is computed by itself, on one thread, with random numbers of its own, and the gradients
of all are added in the order of the shards. Who computed which of them leaves no trace, so workers
may come and go. A tree of sums (as all-reduce makes it) would depend on how many there are.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Self

import numpy as np

from services.trainer.adapters.learning.accelerating import Accelerator, accelerated
from services.trainer.adapters.learning.batches import batches_of, loss_of, tensors_of
from services.trainer.adapters.learning.crew import Batch, Crew, Gradients, Vector
from services.trainer.adapters.learning.recipe import Checkpoint, FitTask, Step

if TYPE_CHECKING:
    import torch


class Nobody:
    """Hears of a fit for those who compute its gradients alone."""

    def stepped(self, step: Step) -> None:
        """Go on."""

    def save(self, checkpoint: Checkpoint) -> None:
        """Go on."""


@dataclass(frozen=True, eq=False)
class SharedFit:
    """What a worker must know to compute gradients of a fit.

    Attributes:
        task: The fit, without what only its first worker needs.
        network: Makes its network: a function of the recipe's module, which other processes find
            by its name, or a `partial` of one with numbers and tuples of them by their names.
        shards: Parts of each batch.
    """

    task: FitTask
    network: Callable[[FitTask], torch.nn.Module]
    shards: int

    @classmethod
    def of(cls, task: FitTask, network: Callable[[FitTask], torch.nn.Module], shards: int) -> Self:
        """What others must know of `task`."""
        told = replace(
            task,
            observer=Nobody(),
            watch_rows=None,
            watch_label=None,
            resume_from=None,
            start=None,
            crew=None,
        )
        return cls(told, network, shards)


class ShardBench:
    """Computes gradients of one fit, with a network of its own.

    Args:
        fit: The fit.
    """

    def __init__(self, fit: SharedFit) -> None:
        import torch

        self._fit = fit
        self._accelerator = Accelerator(fit.task.acceleration)
        device = self._accelerator.device
        with torch.random.fork_rng(devices=[]):
            self._net = fit.network(fit.task).train().to(device)
        self._rows, self._label = (each.to(device) for each in tensors_of(fit.task))
        self._epoch = -1
        self._batches: tuple[torch.Tensor, ...] = ()

    def gradients(self, batch: Batch, shards: range, weights: Vector) -> Gradients:
        """What `shards` of `batch` say with `weights`.

        Raises:
            OutOfMemory: The GPU's memory is full.
        """
        with accelerated():
            return self._gradients(batch, shards, weights)

    def _gradients(self, batch: Batch, shards: range, weights: Vector) -> Gradients:
        import torch

        with torch.no_grad():
            for parameter, mine in _by_parameter(self._net, weights):
                parameter.copy_(mine)
        chosen = self._chosen(batch)
        parts = torch.tensor_split(chosen, self._fit.shards)
        # Else a checkpoint, which has the state of random numbers, would tell who computed what.
        with torch.random.fork_rng(devices=[]):
            found = [self._of_shard(batch, shard, parts[shard], len(chosen)) for shard in shards]
        return Gradients(
            tuple(loss for loss, _ in found), np.stack([gradient for _, gradient in found])
        )

    def _chosen(self, batch: Batch) -> torch.Tensor:
        if self._epoch != batch.epoch:
            self._epoch, self._batches = batch.epoch, batches_of(self._fit.task, batch.epoch)
        return self._batches[batch.number]

    def _of_shard(
        self, batch: Batch, shard: int, rows: torch.Tensor, batch_rows: int
    ) -> tuple[float, Vector]:
        """Its part in the batch's mean loss and gradient; a small batch leaves shards empty."""
        import torch

        parameters = list(self._net.parameters())
        if not len(rows):
            return 0.0, np.zeros(sum(each.numel() for each in parameters), dtype=np.float32)
        torch.manual_seed(_derived(self._fit.task.seed, batch, shard))
        rows = rows.to(self._accelerator.device)
        with self._accelerator.autocast:
            outputs = self._net(self._rows[rows])
            loss = loss_of(self._fit.task.task, outputs, self._label[rows], "sum") / batch_rows
        gradients = torch.autograd.grad(loss, parameters)
        return loss.item(), torch.cat([each.reshape(-1) for each in gradients]).cpu().numpy()


class SharedSteps:
    """Gradients of a fit's batches, which a crew computes.

    Args:
        task: The fit; it has a crew.
        network: Makes its network.
        net: Gets the gradients.
    """

    def __init__(
        self, task: FitTask, network: Callable[[FitTask], torch.nn.Module], net: torch.nn.Module
    ) -> None:
        assert task.crew is not None, "the fit of one worker is not shared"
        self._crew: Crew = task.crew
        self._net = net
        self._crew.begin(SharedFit.of(task, network, self._crew.shards))

    @property
    def workers(self) -> int:
        """The fewest that have computed a batch since the epoch began."""
        return self._crew.fewest

    def begin_epoch(self) -> None:
        """Before the first batch of each epoch."""
        self._crew.begin_epoch()

    def backward(self, batch: Batch) -> float:
        """The batch's mean loss, whose gradient the parameters have then."""
        import torch

        weights = torch.cat([each.detach().reshape(-1) for each in self._net.parameters()])
        found = self._crew.gradients(batch, weights.numpy())
        total = found.values[0].copy()
        for values in found.values[1:]:
            total += values
        for parameter, gradient in _by_parameter(self._net, total):
            parameter.grad = gradient.clone()
        return math.fsum(found.losses)


def _by_parameter(
    net: torch.nn.Module, values: Vector
) -> Iterator[tuple[torch.nn.Parameter, torch.Tensor]]:
    """Each parameter of `net` with its part of `values`, in its shape."""
    import torch

    parameters = list(net.parameters())
    parts = torch.split(torch.from_numpy(values), [each.numel() for each in parameters])
    for parameter, part in zip(parameters, parts, strict=True):
        yield parameter, part.view_as(parameter)


def _derived(seed: int, batch: Batch, shard: int) -> int:
    text = f"{seed} {batch.epoch} {batch.number} {shard}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
