"""Networks on a GPU, in mixed precision, or compiled; by default none of it."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any, Final, Self

import numpy as np
import numpy.typing as npt
import structlog

from services.trainer.adapters.learning.network import NetworkClassifier
from services.trainer.adapters.learning.recipe import Matrix
from services.trainer.core.acceleration import Acceleration, Device, Precision
from services.trainer.core.failures import NotAccelerated, OutOfMemory
from services.trainer.core.tasks import Task

if TYPE_CHECKING:
    import torch

    from services.trainer.adapters.learning.epochs import Weights

log = structlog.get_logger()

SAMPLE_S: Final = 0.2
"""Between two looks at how busy the GPU is; the driver's own window is about as long."""

JUDGED_ROWS: Final = 4096
"""Watched rows of one run: what lies between layers is many times the rows."""


class Accelerator:
    """Where the networks of a fit are, and how they are computed.

    Args:
        asked: What the job asks for.

    Raises:
        NotAccelerated: This machine can't do that.
    """

    def __init__(self, asked: Acceleration) -> None:
        import torch

        self._asked = asked
        if asked.device is Device.GPU:
            _check_gpu()
            # Told, not refused: few operations of few networks have no such algorithm.
            torch.use_deterministic_algorithms(True, warn_only=True)
            torch.backends.cudnn.allow_tf32 = False
        self.device = torch.device("cuda" if asked.device is Device.GPU else "cpu")

    @property
    def uses_gpu(self) -> bool:
        """Whether networks are on a GPU."""
        return self._asked.device is Device.GPU

    @property
    def autocast(self) -> AbstractContextManager[object]:
        """In which a network and its loss are computed, backward not included."""
        import torch

        mixed = self._asked.precision is Precision.BFLOAT16_MIXED
        return torch.autocast(self.device.type, torch.bfloat16, enabled=mixed)

    def compiled(self, network: torch.nn.Module) -> Callable[[torch.Tensor], torch.Tensor]:
        """What computes `network`, whose weights may change.

        A program for each shape of batches: one for all shapes would be another one, with other
        last bits, in a fit that goes on from a checkpoint. What fits before it in this process
        have compiled is forgotten: past eight shapes PyTorch would compile no more, untold.
        """
        import torch

        if not self._asked.compile:
            return network
        torch.compiler.reset()
        return torch.compile(network, dynamic=False)

    def random_state(self) -> Weights:
        """Of the generators that networks draw from; what a checkpoint keeps of them."""
        import torch

        gpu = {"rng_gpu": torch.cuda.get_rng_state()} if self.uses_gpu else {}
        return {"rng": torch.get_rng_state(), **gpu}

    def restore_random_state(self, state: Weights) -> None:
        """Have the generators go on from what `random_state` gave."""
        import torch

        torch.set_rng_state(state["rng"])
        if self.uses_gpu:
            torch.cuda.set_rng_state(state["rng_gpu"])

    def judge(self, network: torch.nn.Module, task: Task) -> LiveNetwork:
        """`network` as it is now, as an estimator: one core judges for longer than a GPU trains."""
        return LiveNetwork(network, task, self)


class LiveNetwork(NetworkClassifier):
    """A network that is being trained, judged where it is: a classifier, or a regressor.

    Args:
        network: From rows to logits, or to a quantity.
        task: Which of the two it is.
        accelerator: Where it is.
    """

    def __init__(self, network: torch.nn.Module, task: Task, accelerator: Accelerator) -> None:
        self._network = network
        self._task = task
        self._accelerator = accelerator

    def logits(self, rows: Matrix) -> Matrix:
        """See `NetworkClassifier`."""
        import torch

        self._network.eval()
        with torch.inference_mode(), self._accelerator.autocast:
            parts = torch.split(torch.from_numpy(rows), JUDGED_ROWS)
            found = [self._network(part.to(self._accelerator.device)).float() for part in parts]
            return np.asarray(torch.cat(found).cpu().numpy())

    def predict(self, rows: Matrix) -> npt.NDArray[Any]:
        """[rows]: the quantity as float32, or the likeliest label as int64."""
        return self.logits(rows)[:, 0] if self._task is Task.REGRESSION else super().predict(rows)


def _check_gpu() -> None:
    import torch

    if torch.version.cuda is None:
        raise NotAccelerated(
            f"PyTorch {torch.__version__} of this worker is built without CUDA: install one with it"
        )
    if not torch.cuda.is_available():
        seen = os.environ.get("CUDA_VISIBLE_DEVICES", "all of them")
        raise NotAccelerated(f"PyTorch sees no GPU here; CUDA_VISIBLE_DEVICES lets it see {seen!r}")


@contextmanager
def accelerated() -> Iterator[None]:
    """In which networks are trained: what fails for want of memory or a compiler says so.

    Raises:
        OutOfMemory: The GPU's memory is full.
        NotAccelerated: There is no compiler, or it fails.
    """
    import torch

    try:
        yield
    except torch.OutOfMemoryError as error:
        raise OutOfMemory(f"the GPU's memory is full: {error}") from error
    except RuntimeError as error:
        from torch._dynamo.exc import TorchDynamoException

        if not isinstance(error, TorchDynamoException):
            raise
        raise NotAccelerated(f"the network can't be compiled here: {error}") from error


class GpuMeter:
    """How busy the GPU of this process is, looked at all the while.

    Args:
        accelerator: Of the fit; one without a GPU is never looked at.
    """

    def __init__(self, accelerator: Accelerator) -> None:
        self._uses_gpu = accelerator.uses_gpu
        self._lock = threading.Lock()
        self._samples: list[float] = []
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> Self:
        if self._uses_gpu:
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        if self._uses_gpu:
            self._thread.join()

    def taken(self) -> tuple[float | None, int | None]:
        """Share of the time since the last call in which it was busy, and most bytes allocated.

        Nothing without a GPU; no share where no look fell into the time.
        """
        if not self._uses_gpu:
            return None, None
        import torch

        with self._lock:
            samples, self._samples = self._samples, []
        peak = torch.cuda.max_memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        return (sum(samples) / len(samples) if samples else None), peak

    def _look(self) -> None:
        import pynvml  # type: ignore[import-untyped]  # ships no types
        import torch

        while not self._ended.wait(SAMPLE_S):
            try:
                busy = torch.cuda.utilization() / 100
            except pynvml.NVMLError as error:  # a part of a GPU has no share of its own
                log.warning("gpu.not_metered", cause=str(error))
                return
            with self._lock:
                self._samples.append(busy)
