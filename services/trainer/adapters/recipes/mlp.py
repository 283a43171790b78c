"""A small dense network, by torch, checkpointed so that a resumed fit is bit-identical."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING

import numpy as np

from services.trainer.adapters.learning.recipe import (
    Checkpoint,
    Encoding,
    FitTask,
    Fitted,
    Recipe,
    Step,
    watched_metrics,
)
from services.trainer.core.failures import NanLoss
from services.trainer.core.parameters import ParameterRule
from services.trainer.core.parents import Mode

if TYPE_CHECKING:
    import torch

    from services.trainer.adapters.learning.network import DenseNetwork

PERMUTATION_STRIDE = 1_000_003
"""Keeps the permutations of one seed's epochs apart from those of the next seed."""


def fit(task: FitTask) -> Fitted:
    """Train for all epochs and keep the one with the lowest watched log loss, else the last."""
    import torch

    threads = torch.get_num_threads()
    # The order in which threads add floats changes the last bits; one thread has one order.
    torch.set_num_threads(1)
    try:
        return _Training(task).run()
    finally:
        torch.set_num_threads(threads)


class _Training:
    def __init__(self, task: FitTask) -> None:
        import torch

        torch.manual_seed(task.seed)
        self._task = task
        self._net = _network(task)
        self._optimizer = torch.optim.AdamW(
            self._net.parameters(),
            lr=task.parameters["learning_rate"],
            weight_decay=task.parameters["weight_decay"],
        )
        self._rows = torch.from_numpy(task.rows)
        label = task.label if task.soft_label is None else task.soft_label
        self._label = torch.from_numpy(label.astype(np.float32))
        self._epoch = 0
        self._best_epoch = 0
        self._best_loss = math.inf
        self._best = self._weights()
        if task.resume_from is not None:
            self._restore(task.resume_from)

    def run(self) -> Fitted:
        task = self._task
        total = task.whole("epochs")
        while self._epoch < total:
            loss = self._train_epoch()
            self._epoch += 1
            metrics = watched_metrics(task, _classifier(self._weights()))
            watched_loss = metrics.get("log_loss", -self._epoch)
            if watched_loss < self._best_loss:
                self._best_loss = watched_loss
                self._best_epoch = self._epoch
                self._best = self._weights()
            task.observer.stepped(Step(self._epoch, total, loss, metrics))
            task.observer.save(self._checkpoint())
        refit = {**task.parameters, "epochs": float(self._best_epoch)}
        return Fitted(_classifier(self._best), refit)

    def _train_epoch(self) -> float:
        import torch

        batch = self._task.whole("batch_rows")
        seed = self._task.seed * PERMUTATION_STRIDE + self._epoch
        order = torch.randperm(len(self._rows), generator=torch.Generator().manual_seed(seed))
        self._net.train()
        total = 0.0
        for chosen in torch.split(order, batch):
            self._optimizer.zero_grad()
            logits = self._net(self._rows[chosen])[:, 0]
            loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, self._label[chosen])
            loss.backward()  # type: ignore[no-untyped-call]
            self._optimizer.step()
            total += loss.item() * len(chosen)
        mean = total / len(order)
        if not math.isfinite(mean):
            raise NanLoss(f"the loss became {mean} in epoch {self._epoch + 1}")
        return mean

    def _weights(self) -> dict[str, torch.Tensor]:
        return {name: value.detach().clone() for name, value in self._net.state_dict().items()}

    def _checkpoint(self) -> Checkpoint:
        import torch
        from safetensors.torch import save

        optimizer = self._optimizer.state_dict()
        tensors = {f"net.{name}": value for name, value in self._weights().items()}
        tensors |= {f"best.{name}": value for name, value in self._best.items()}
        tensors["rng"] = torch.get_rng_state()
        for index, slots in optimizer["state"].items():
            tensors |= {f"optimizer.{index}.{name}": value for name, value in slots.items()}
        state = {
            "best_epoch": self._best_epoch,
            "best_loss": self._best_loss,
            "optimizer_groups": optimizer["param_groups"],
        }
        return Checkpoint(self._epoch, save(tensors, metadata={"state": json.dumps(state)}))

    def _restore(self, checkpoint: Checkpoint) -> None:
        import torch
        from safetensors.torch import load

        tensors = load(checkpoint.data)
        state = json.loads(_metadata(checkpoint.data)["state"])
        self._epoch = checkpoint.step
        self._best_epoch = state["best_epoch"]
        self._best_loss = state["best_loss"]
        self._best = _under("best.", tensors)
        self._net.load_state_dict(_under("net.", tensors))
        slots: dict[int, dict[str, torch.Tensor]] = {}
        for name, value in _under("optimizer.", tensors).items():
            index, _, slot = name.partition(".")
            slots.setdefault(int(index), {})[slot] = value
        groups = [{**group, "betas": tuple(group["betas"])} for group in state["optimizer_groups"]]
        self._optimizer.load_state_dict({"state": slots, "param_groups": groups})
        torch.set_rng_state(tensors["rng"])


def _network(task: FitTask) -> torch.nn.Sequential:
    from torch import nn

    hidden = task.whole("hidden_units")
    dropout = task.parameters["dropout"]
    return nn.Sequential(
        nn.Linear(task.rows.shape[1], hidden),
        nn.ReLU(),
        nn.Dropout(dropout),
        nn.Linear(hidden, hidden // 2),
        nn.ReLU(),
        nn.Linear(hidden // 2, 1),
    )


def _classifier(weights: dict[str, torch.Tensor]) -> DenseNetwork:
    from services.trainer.adapters.learning.network import DenseNetwork

    names = [name.removesuffix(".weight") for name in weights if name.endswith(".weight")]
    return DenseNetwork(
        [
            (
                np.ascontiguousarray(weights[f"{name}.weight"].numpy().T),
                weights[f"{name}.bias"].numpy(),
            )
            for name in names
        ]
    )


def _metadata(data: bytes) -> dict[str, str]:
    # safetensors reads metadata from files only; the header is its length and a JSON object.
    length = int.from_bytes(data[:8], "little")
    metadata: dict[str, str] = json.loads(data[8 : 8 + length])["__metadata__"]
    return metadata


def _under(prefix: str, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {
        name.removeprefix(prefix): value
        for name, value in tensors.items()
        if name.startswith(prefix)
    }


def teach_export() -> None:
    """Teach skl2onnx to convert the network."""
    from services.trainer.adapters.learning.network import register_network_converter

    register_network_converter()


RECIPE = Recipe(
    algorithm="mlp",
    rules={
        "hidden_units": ParameterRule(default=64, minimum=2, maximum=1024, whole=True),
        "epochs": ParameterRule(default=8, minimum=1, maximum=1000, whole=True),
        "batch_rows": ParameterRule(default=512, minimum=1, maximum=65_536, whole=True),
        "learning_rate": ParameterRule(default=1e-3, minimum=1e-6, maximum=1.0),
        "weight_decay": ParameterRule(default=1e-4, minimum=0.0, maximum=1.0),
        "dropout": ParameterRule(default=0.1, minimum=0.0, maximum=0.9),
    },
    encoding=Encoding.SCALED_ONE_HOT,
    fit=fit,
    teach_export=teach_export,
    modes=frozenset({Mode.FULL, Mode.DISTILLATION}),
)
