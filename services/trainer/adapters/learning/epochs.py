"""Torch networks trained by epochs, checkpointed so that a resumed fit is bit-identical."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeAlias

from services.trainer.adapters.learning.accelerating import Accelerator, GpuMeter, accelerated
from services.trainer.adapters.learning.batches import batches_of, loss_of, tensors_of
from services.trainer.adapters.learning.crew import Batch
from services.trainer.adapters.learning.native import Tensors, safetensors_metadata
from services.trainer.adapters.learning.private import PrivateSteps
from services.trainer.adapters.learning.recipe import (
    Checkpoint,
    FitTask,
    Fitted,
    Step,
    watched_metrics,
)
from services.trainer.adapters.learning.shards import SharedSteps
from services.trainer.core.acceleration import Acceleration
from services.trainer.core.failures import NanLoss, UnusableParent
from services.trainer.core.privacy import PrivacySpent
from services.trainer.core.tasks import Task

if TYPE_CHECKING:
    import torch

    Weights: TypeAlias = dict[str, torch.Tensor]


def outputs_of(task: FitTask) -> int:
    """Outputs of a network for `task`: a logit of each class, of two classes one; a quantity."""
    return task.classes if task.task is Task.MULTICLASS else 1


def train_by_epochs(
    task: FitTask,
    network: Callable[[FitTask], torch.nn.Module],
    estimator: Callable[[Weights], Any],
) -> Fitted:
    """Train for all epochs and keep the one with the lowest watched loss, else the last.

    With privacy the last one in any case: to choose by the loss would tell of the rows.

    Args:
        task: Has `epochs`, `batch_rows`, `learning_rate` and `weight_decay`.
        network: Makes it, from rows to `outputs_of`, once the seed is set. With a crew, as
            `SharedFit` says.
        estimator: The one that has some weights of it.

    Raises:
        NanLoss: The loss is no number any more.
        UnusableParent: `task.start` is of a network of another shape.
        OutOfMemory, WorkerLost: As `Crew` says; the GPU's memory is full, too.
        NotAccelerated: This machine lacks what `task.acceleration` asks for.
    """
    with one_thread(), accelerated():
        return _Training(task, network, estimator).run()


@contextmanager
def one_thread() -> Iterator[None]:
    """Torch on one thread: the order in which threads add floats changes the last bits."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


class _Training:
    def __init__(
        self,
        task: FitTask,
        network: Callable[[FitTask], torch.nn.Module],
        estimator: Callable[[Weights], Any],
    ) -> None:
        import torch

        # With a crew, gradients alone are computed elsewhere than here, in the CPU's memory.
        asked = task.acceleration if task.crew is None else Acceleration()
        self._accelerator = Accelerator(asked)
        torch.manual_seed(task.seed)
        self._task = task
        self._net = network(task).to(self._accelerator.device)
        self._outputs = self._accelerator.compiled(self._net)
        self._estimator = estimator
        self._optimizer = torch.optim.AdamW(
            self._net.parameters(),
            lr=task.parameters["learning_rate"],
            weight_decay=task.parameters["weight_decay"],
        )
        self._private = (
            None
            if task.private is None
            else PrivateSteps(
                task.private,
                self._net,
                self._optimizer,
                rows=len(task.rows),
                batch_rows=task.whole("batch_rows"),
                seed=task.seed,
            )
        )
        self._shared = None if task.crew is None else SharedSteps(task, network, self._net)
        self._rows, self._label = (each.to(self._accelerator.device) for each in tensors_of(task))
        self._epoch = 0
        self._best_epoch = 0
        self._best_loss = math.inf
        self._best = self._weights()
        if task.resume_from is not None:
            self._restore(task.resume_from)
        elif task.start is not None:
            self._go_on_from(task.start)

    def run(self) -> Fitted:
        with GpuMeter(self._accelerator) as meter:
            self._train(meter)
        refit = {**self._task.parameters, "epochs": float(self._best_epoch)}
        weights = {name: value.numpy() for name, value in self._best.items()}
        return Fitted(self._estimator(self._best), refit, weights, self._spent())

    def _train(self, meter: GpuMeter) -> None:
        task = self._task
        total = task.whole("epochs")
        while self._epoch < total:
            loss, gradient_norm = self._train_epoch()
            self._epoch += 1
            metrics = self._watched_metrics()
            watched_loss = metrics.get(task.task.meaning.watched, -self._epoch)
            if watched_loss < self._best_loss or self._private is not None:
                self._best_loss = watched_loss
                self._best_epoch = self._epoch
                self._best = self._weights()
            spent = self._spent()
            epsilon = None if spent is None else spent.epsilon
            (group,) = self._optimizer.param_groups
            workers = None if self._shared is None else self._shared.workers
            utilization, memory_bytes = meter.taken()
            task.observer.stepped(
                Step(
                    self._epoch,
                    total,
                    loss,
                    metrics,
                    epsilon,
                    gradient_norm,
                    learning_rate=group["lr"],
                    gpu_utilization=utilization,
                    workers=workers,
                    gpu_memory_bytes=memory_bytes,
                )
            )
            task.observer.save(self._checkpoint())

    def _watched_metrics(self) -> dict[str, float]:
        if not self._accelerator.uses_gpu:
            return watched_metrics(self._task, self._estimator(self._weights()))
        return watched_metrics(self._task, self._accelerator.judge(self._net, self._task.task))

    def _spent(self) -> PrivacySpent | None:
        return None if self._private is None else self._private.spent(self._epoch)

    def _go_on_from(self, start: Tensors) -> None:
        import torch

        for name, mine in self._net.state_dict().items():
            theirs = start[name].shape
            if tuple(mine.shape) != theirs:
                raise UnusableParent(
                    f"parameters make a network whose {name} has the shape {tuple(mine.shape)}; "
                    f"that of parent_version has {theirs}: name the parameters that made it"
                )
        self._net.load_state_dict(
            {name: torch.from_numpy(values) for name, values in start.items()}
        )

    def _train_epoch(self) -> tuple[float, float]:
        """Its mean loss over the rows, and mean norm of the gradient over the batches."""
        import torch

        optimizer = self._optimizer if self._private is None else self._private
        self._net.train()
        if self._shared is not None:
            self._shared.begin_epoch()
        losses, sizes, norms = [], [], []
        for number, chosen in enumerate(self._batches()):
            optimizer.zero_grad()
            losses.append(self._backward(number, chosen))
            sizes.append(len(chosen))
            optimizer.step()
            # The step leaves gradients as they are, but with privacy clips and noises them.
            gradients = [each.grad for each in self._net.parameters() if each.grad is not None]
            norms.append(torch.nn.utils.get_total_norm(gradients))
        # Once an epoch: to read a number waits for all that the GPU has yet to do.
        told = torch.stack(losses).tolist()
        total = sum(loss * size for loss, size in zip(told, sizes, strict=True) if size)
        mean = total / max(1, sum(sizes))
        if not math.isfinite(mean):
            raise NanLoss(f"the loss became {mean} in epoch {self._epoch + 1}")
        return mean, torch.stack(norms).mean().item()

    def _backward(self, number: int, chosen: torch.Tensor) -> torch.Tensor:
        """The mean loss of a batch, whose gradient the parameters have then."""
        import torch

        if self._shared is not None:
            shared = self._shared.backward(Batch(self._epoch, number))
            return torch.tensor(shared, dtype=torch.float64)
        outputs = self._outputs if self._private is None else self._private.logits
        chosen = chosen.to(self._accelerator.device)
        with self._accelerator.autocast:
            loss = loss_of(self._task.task, outputs(self._rows[chosen]), self._label[chosen])
        loss.backward()  # type: ignore[no-untyped-call]
        return loss.detach()

    def _batches(self) -> Iterable[torch.Tensor]:
        """The rows of each batch of the epoch."""
        if self._private is not None:
            return self._private.batches(self._epoch)
        return batches_of(self._task, self._epoch)

    def _weights(self) -> Weights:
        state = self._net.state_dict()
        return {name: value.detach().cpu().clone() for name, value in state.items()}

    def _checkpoint(self) -> Checkpoint:
        from safetensors.torch import save

        optimizer = self._optimizer.state_dict()
        tensors = {f"net.{name}": value for name, value in self._weights().items()}
        tensors |= {f"best.{name}": value for name, value in self._best.items()}
        tensors |= self._accelerator.random_state()
        for index, slots in optimizer["state"].items():
            tensors |= {f"optimizer.{index}.{name}": each.cpu() for name, each in slots.items()}
        state = {
            "best_epoch": self._best_epoch,
            "best_loss": self._best_loss,
            "optimizer_groups": optimizer["param_groups"],
        }
        if self._private is not None:
            state["private_steps"] = self._private.steps_done
        return Checkpoint(self._epoch, save(tensors, metadata={"state": json.dumps(state)}))

    def _restore(self, checkpoint: Checkpoint) -> None:
        from safetensors.torch import load

        tensors = load(checkpoint.data)
        state = json.loads(safetensors_metadata(checkpoint.data)["state"])
        self._epoch = checkpoint.step
        self._best_epoch = state["best_epoch"]
        self._best_loss = state["best_loss"]
        # A file has its tensors in any order; classifiers are made of layers in theirs.
        best = _under("best.", tensors)
        self._best = {name: best[name] for name in self._best}
        self._net.load_state_dict(_under("net.", tensors))
        slots: dict[int, Weights] = {}
        for name, value in _under("optimizer.", tensors).items():
            index, _, slot = name.partition(".")
            slots.setdefault(int(index), {})[slot] = value
        groups = [{**group, "betas": tuple(group["betas"])} for group in state["optimizer_groups"]]
        self._optimizer.load_state_dict({"state": slots, "param_groups": groups})
        self._accelerator.restore_random_state(tensors)
        if self._private is not None:
            self._private.restore(state["private_steps"])


def _under(prefix: str, tensors: Weights) -> Weights:
    return {
        name.removeprefix(prefix): value
        for name, value in tensors.items()
        if name.startswith(prefix)
    }
