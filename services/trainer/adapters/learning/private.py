"""DP-SGD by Opacus: each row's gradient clipped, the sum noised, and every step counted.

Source: Abadi et al., Deep Learning with Differential Privacy, CCS 2016; counted by the Renyi
accountant (Mironov, Talwar and Zhang, Renyi Differential Privacy of the Sampled Gaussian
Mechanism, 2019).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from services.trainer.core.failures import DataFault
from services.trainer.core.privacy import Privacy, PrivacySpent

if TYPE_CHECKING:
    import torch

ORDERS: Final = (1.5, 2, 2.5, 3, 3.5, *range(4, 64), 80, 96, 128, 192, 256, 512)
"""Of the Renyi divergence. Any of them bounds epsilon; broken ones take long to compute."""

LARGEST_NOISE: Final = 1e4
NOISE_TOLERANCE: Final = 1e-3
"""Relative; by so much more noise than needed is added at most."""


@dataclass(frozen=True, slots=True)
class Steps:
    """Steps of one kind.

    Attributes:
        noise_multiplier: Deviation of the noise over the clipping norm.
        sample_rate: Chance of each row to be in a step's batch.
        count: How many.
    """

    noise_multiplier: float
    sample_rate: float
    count: int


def epsilon_of(history: Sequence[Steps], delta: float) -> float:
    """What all steps of `history` together spend.

    From Renyi divergences by Balle et al., Hypothesis Testing Interpretations and Renyi
    Differential Privacy, AISTATS 2020, theorem 21.
    """
    spent = np.zeros(len(ORDERS))
    for steps in history:
        spent = spent + steps.count * _of_one_step(steps.noise_multiplier, steps.sample_rate)
    if not spent.any():
        return 0.0
    orders = np.array(ORDERS)
    bounds = spent + np.log1p(-1 / orders) - (np.log(delta) + np.log(orders)) / (orders - 1)
    return float(np.nanmin(bounds))


@lru_cache(maxsize=256)
def _of_one_step(noise_multiplier: float, sample_rate: float) -> npt.NDArray[np.float64]:
    from opacus.accountants.analysis import rdp

    return np.asarray(
        rdp.compute_rdp(q=sample_rate, noise_multiplier=noise_multiplier, steps=1, orders=ORDERS)
    )


@dataclass(frozen=True, slots=True)
class PrivateFit:
    """How one fit keeps its rows private.

    Attributes:
        privacy: Of the job.
        noise_multiplier: Of each step.
        epochs: That the job's budget pays for, of each fit.
        before: What earlier fits of the job have spent on the same rows.
    """

    privacy: Privacy
    noise_multiplier: float
    epochs: int
    before: tuple[Steps, ...] = ()


def steps_of(rows: int, batch_rows: int, epochs: int, noise_multiplier: float) -> Steps:
    """The steps of a fit over `rows`, of which each batch has `batch_rows` on average."""
    sample_rate = min(1.0, batch_rows / rows)
    return Steps(noise_multiplier, sample_rate, epochs * int(1 / sample_rate))


def planned(
    privacy: Privacy, rows: Sequence[int], batch_rows: int, epochs: int
) -> tuple[PrivateFit, ...]:
    """How fits that follow each other share the budget, each with as many epochs.

    By numbers of rows alone, which count as public, so that the plan tells nothing of them.

    Args:
        privacy: What they may spend together.
        rows: Of each fit; a row may be in all of them.
        batch_rows: On average.
        epochs: That are wanted.

    Raises:
        DataFault: The budget does not pay for a single epoch, or delta is not below one over the
            rows.
    """
    if privacy.delta >= 1 / max(rows):
        raise DataFault(
            f"privacy.delta is {privacy.delta:g}; must be below {1 / max(rows):.3g}, one over the "
            f"{max(rows)} rows, or it may give away whole rows"
        )

    def spent(noise_multiplier: float, count: int) -> float:
        history = [steps_of(each, batch_rows, count, noise_multiplier) for each in rows]
        return epsilon_of(history, privacy.delta)

    noise = privacy.noise_multiplier
    if noise is None:
        noise = _least_noise(privacy.epsilon, lambda given: spent(given, epochs))
        affordable = epochs
    else:
        affordable = _most_epochs(privacy.epsilon, epochs, lambda count: spent(noise, count))
    fits: list[PrivateFit] = []
    before: tuple[Steps, ...] = ()
    for each in rows:
        fits.append(PrivateFit(privacy, noise, affordable, before))
        before = (*before, steps_of(each, batch_rows, affordable, noise))
    return tuple(fits)


def _least_noise(epsilon: float, spent: Callable[[float], float]) -> float:
    low, high = 0.0, 1.0
    while spent(high) > epsilon:
        low, high = high, 2 * high
        if high > LARGEST_NOISE:
            raise DataFault(
                f"privacy.epsilon of {epsilon:g} is too small for so many epochs over so few rows"
            )
    while high - low > NOISE_TOLERANCE * high:
        middle = (low + high) / 2
        low, high = (low, middle) if spent(middle) <= epsilon else (middle, high)
    return high


def _most_epochs(epsilon: float, wanted: int, spent: Callable[[int], float]) -> int:
    low, high = 0, wanted
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if spent(middle) <= epsilon else (low, middle - 1)
    if low == 0:
        raise DataFault(
            f"privacy.epsilon of {epsilon:g} does not pay for one epoch, which costs "
            f"{spent(1):.3g}; raise it or noise_multiplier, or lower batch_rows"
        )
    return low


class PrivateSteps:
    """The steps of one fit, each of which is noised and counted.

    Everything by chance comes from the seed and the epoch, so that a fit that goes on from a
    checkpoint draws what the unbroken one would have drawn; and from the number of the fit, since
    noise that two fits share could be taken away.

    Args:
        fit: How rows are kept private.
        net: Trained in place.
        optimizer: Over its parameters.
        rows: That there are.
        batch_rows: Of a batch, on average.
        seed: Of the job.
    """

    def __init__(
        self,
        fit: PrivateFit,
        net: torch.nn.Module,
        optimizer: torch.optim.Optimizer,
        *,
        rows: int,
        batch_rows: int,
        seed: int,
    ) -> None:
        import torch
        from opacus import GradSampleModule
        from opacus.optimizers import DPOptimizer

        self._fit = fit
        self._rows = rows
        self._seed = f"{seed} {len(fit.before)}"
        self._taken = steps_of(rows, batch_rows, 0, fit.noise_multiplier)
        self._noise = torch.Generator()
        self._net = GradSampleModule(net)
        self._optimizer = DPOptimizer(
            optimizer,
            noise_multiplier=fit.noise_multiplier,
            max_grad_norm=fit.privacy.max_grad_norm,
            expected_batch_size=self._taken.sample_rate * rows,
            generator=self._noise,
        )

    @property
    def steps_done(self) -> int:
        """Of this fit."""
        return self._taken.count

    def spent(self, epochs: int) -> PrivacySpent:
        """What this fit and those before it have spent, after `epochs`."""
        history = (*self._fit.before, self._taken)
        return PrivacySpent(
            epsilon=epsilon_of(history, self._fit.privacy.delta),
            delta=self._fit.privacy.delta,
            noise_multiplier=self._fit.noise_multiplier,
            max_grad_norm=self._fit.privacy.max_grad_norm,
            steps=sum(steps.count for steps in history),
            epochs=epochs,
        )

    def batches(self, epoch: int) -> Iterator[torch.Tensor]:
        """The rows of each batch of an epoch, each in it by chance; a batch may be empty."""
        import torch

        drawn = torch.Generator().manual_seed(_derived(self._seed, "batches", epoch))
        self._noise.manual_seed(_derived(self._seed, "noise", epoch))
        for _ in range(int(1 / self._taken.sample_rate)):
            chosen = torch.rand(self._rows, generator=drawn) < self._taken.sample_rate
            yield chosen.nonzero()[:, 0]

    def logits(self, rows: torch.Tensor) -> torch.Tensor:
        """What the net says of rows, so that gradients of each can be had."""
        # The hooks of the first layer warn about inputs that need no gradient.
        logits: torch.Tensor = self._net(rows.requires_grad_())
        return logits

    def zero_grad(self) -> None:
        """Forget the gradients of each row."""
        self._optimizer.zero_grad()

    def step(self) -> None:
        """Move the weights by the noised mean of the clipped gradients, and count it."""
        self._optimizer.step()
        self._taken = self._with(self._taken.count + 1)

    def restore(self, steps_done: int) -> None:
        """Go on after so many steps of this fit."""
        self._taken = self._with(steps_done)

    def _with(self, count: int) -> Steps:
        return Steps(self._taken.noise_multiplier, self._taken.sample_rate, count)


def _derived(seed: str, purpose: str, epoch: int) -> int:
    digest = hashlib.sha256(f"{seed} {purpose} {epoch}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1
