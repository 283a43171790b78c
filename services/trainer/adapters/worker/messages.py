"""What a worker and its helpers say to each other: safetensors with JSON, so nothing that runs.

A pickle from a network is a program. What these messages name at most is a function of a recipe's
own module, and the recipe has to be installed where it is read.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load, save

from services.trainer.adapters.learning.crew import Batch, Gradients, Vector
from services.trainer.adapters.learning.native import safetensors_metadata
from services.trainer.adapters.learning.recipe import FitTask
from services.trainer.adapters.learning.shards import Nobody, SharedFit
from services.trainer.adapters.recipes import load_recipes
from services.trainer.core.acceleration import acceleration_from_json, acceleration_to_json
from services.trainer.core.failures import OutOfMemory
from services.trainer.core.regression import TargetScale
from services.trainer.core.tasks import Task

if TYPE_CHECKING:
    import torch

Network: TypeAlias = "Callable[[FitTask], torch.nn.Module]"
Arrays: TypeAlias = Mapping[str, npt.NDArray[Any]]
Document: TypeAlias = Mapping[str, Any]  # content of a JSON object

HEADER_BYTES: Final = 1 << 20
"""More than all of a message but its arrays takes."""

_STATE: Final = "message"


class MalformedMessage(ValueError):
    """What came is no message, or names what is not installed here; its text says why."""


@dataclass(frozen=True, eq=False)
class Asked:
    """What a worker has a helper compute.

    Attributes:
        number: Of the question: who asked may have given up waiting for an earlier answer.
        batch: The batch.
        shards: Of it.
        weights: Of the network.
    """

    number: int
    batch: Batch
    shards: range
    weights: Vector


@dataclass(frozen=True, eq=False)
class Answered:
    """What came of it.

    Attributes:
        number: Of the question.
        found: The gradients, or that there is too little memory for them.
    """

    number: int
    found: Gradients | OutOfMemory


def said_by_worker(data: bytes) -> SharedFit | Asked:
    """The inverse of `fit_bytes` and `asked_bytes`.

    Raises:
        MalformedMessage: It is neither.
    """
    document, arrays = _read(data)
    try:
        if "network" in document:
            return _fit(document, arrays)
        batch = Batch(document["epoch"], document["batch"])
        shards = range(document["first"], document["end"])
        return Asked(document["number"], batch, shards, arrays["weights"])
    except (KeyError, TypeError, ValueError) as error:
        raise MalformedMessage(f"a worker said what is no message: {error!r}") from error


def fit_bytes(fit: SharedFit) -> bytes:
    """A fit to turn to.

    Raises:
        MalformedMessage: Nobody would find its network.
    """
    task, network = fit.task, _named(fit.network)
    _network(network)
    arrays = {"rows": task.rows, "label": task.label}
    if task.soft_label is not None:
        arrays["soft_label"] = task.soft_label
    document = {
        "network": network,
        "shards": fit.shards,
        "parameters": dict(task.parameters),
        "seed": task.seed,
        "cores": task.cores,
        "task": task.task,
        "classes": task.classes,
        "scale": None if task.scale is None else asdict(task.scale),
        "acceleration": acceleration_to_json(task.acceleration),
    }
    return _written(document, arrays)


def asked_bytes(asked: Asked) -> bytes:
    """A question."""
    document = {
        "number": asked.number,
        "epoch": asked.batch.epoch,
        "batch": asked.batch.number,
        "first": asked.shards.start,
        "end": asked.shards.stop,
    }
    return _written(document, {"weights": asked.weights})


def answered(data: bytes) -> Answered:
    """The inverse of `answered_bytes`.

    Raises:
        MalformedMessage: It is no answer.
    """
    document, arrays = _read(data)
    try:
        number = document["number"]
        if "out_of_memory" in document:
            return Answered(number, OutOfMemory(document["out_of_memory"]))
        return Answered(number, Gradients(tuple(document["losses"]), arrays["values"]))
    except (KeyError, TypeError) as error:
        raise MalformedMessage(f"a helper said what is no answer: {error!r}") from error


def answered_bytes(answer: Answered) -> bytes:
    """An answer."""
    if isinstance(answer.found, OutOfMemory):
        return _written({"number": answer.number, "out_of_memory": str(answer.found)}, {})
    document = {"number": answer.number, "losses": answer.found.losses}
    return _written(document, {"values": answer.found.values})


def _fit(document: Document, arrays: Arrays) -> SharedFit:
    task = FitTask(
        rows=arrays["rows"],
        label=arrays["label"],
        watch_rows=None,
        watch_label=None,
        parameters=document["parameters"],
        seed=document["seed"],
        cores=document["cores"],
        observer=Nobody(),
        task=Task(document["task"]),
        classes=document["classes"],
        scale=None if document["scale"] is None else TargetScale(**document["scale"]),
        soft_label=arrays.get("soft_label"),
        acceleration=acceleration_from_json(document["acceleration"]),
    )
    return SharedFit(task, _network(document["network"]), document["shards"])


def _named(network: Network) -> Document:
    """A function of a recipe's module, and the numbers that it was given."""
    function, given = (
        (network.func, network.keywords) if isinstance(network, partial) else (network, {})
    )
    return {"module": function.__module__, "name": function.__qualname__, "given": given}


def _network(named: Document) -> Network:
    modules = {recipe.fit.__module__ for recipe in load_recipes().values()}
    if named["module"] not in modules:
        raise MalformedMessage(f"no installed recipe is of the module {named['module']!r}")
    function: Network | None = getattr(sys.modules[named["module"]], named["name"], None)
    if not callable(function):
        raise MalformedMessage(f"{named['module']} has no function {named['name']!r}")
    given = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in named["given"].items()
    }
    return partial(function, **given)


def _written(document: Document, arrays: Arrays) -> bytes:
    tensors = {name: np.ascontiguousarray(values) for name, values in arrays.items()}
    return save(tensors, metadata={_STATE: json.dumps(document)})


def _read(data: bytes) -> tuple[Document, Arrays]:
    try:
        arrays = load(data)
        document: Document = json.loads(safetensors_metadata(data)[_STATE])
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise MalformedMessage(f"it is no safetensors with a message: {error!r}") from error
    return document, arrays
