"""The files of a version. The same job always gives the same bytes: no clock, no host name."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from services.common.profiles import (
    ColumnProfile,
    Profile,
    RowSample,
    ScoredSample,
    feature_profiles,
    reliability_of,
)
from services.common.sketches import FrozenBins
from services.common.sliced_profiles import slice_sketches
from services.trainer.adapters.export.runtime import PREDICTION, PROBABILITIES
from services.trainer.core.failures import DataFault
from services.trainer.core.scores import Probabilities, Scores, SliceScores
from services.trainer.core.spec import Feature, FeatureKind
from services.trainer.core.splits import Split
from services.trainer.core.tables import TWO_CLASSES, Table
from services.trainer.core.tasks import Task

JsonObject = Mapping[str, Any]  # the content of a file


def json_bytes(document: JsonObject) -> bytes:
    """Canonical JSON: sorted keys, no spaces, UTF-8."""
    text = json.dumps(
        document, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )
    return text.encode()


def sha256(data: bytes) -> str:
    """`sha256:` and 64 hex digits of `data`."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def manifest_bytes(files: Mapping[str, bytes]) -> bytes:
    """`manifest.json` over `files`, by path."""
    entries = [
        {"path": path, "size_bytes": len(files[path]), "sha256": sha256(files[path])}
        for path in sorted(files)
    ]
    return json_bytes({"files": entries})


def signature(fitted: Table, features: Sequence[Feature] = ()) -> dict[str, Any]:
    """`signature.json`: the graph's inputs, with the ranges and categories of the fitted rows.

    What a text is read with comes from `features`, those of the spec.

    Every input may be missing, since the graph fills in what is; values beyond the range and
    unseen categories are scored too.
    """
    inputs: list[dict[str, Any]] = []
    for name, numbers in fitted.numeric.items():
        known = numbers[np.isfinite(numbers)]
        bounds = (float(known.min()), float(known.max())) if known.size else (None, None)
        inputs.append(_input(name, "FP32", bounds, None))
    for name, strings in fitted.categorical.items():
        categories = sorted(set(strings.tolist()) - {""})
        inputs.append(_input(name, "BYTES", (None, None), categories))
    for feature in features:
        if feature.kind is FeatureKind.TEXT:
            read = {"encoder": feature.encoder, "max_tokens": feature.max_tokens}
            inputs.append({**_input(feature.name, "BYTES", (None, None), None), "text": read})
    return {"inputs": inputs, "outputs": _outputs(fitted.classes)}


def features_of(signature: JsonObject) -> tuple[Feature, ...]:
    """The features that a version takes, as its `signature.json` says.

    Raises:
        DataFault: It has an input that no feature can be.
    """
    kinds = {"FP32": FeatureKind.NUMERIC, "BYTES": FeatureKind.CATEGORICAL}
    try:
        return tuple(
            Feature(found["name"], FeatureKind.TEXT, **found["text"])
            if "text" in found
            else Feature(found["name"], kinds[found["datatype"]])
            for found in signature["inputs"]
        )
    except KeyError as error:
        raise DataFault(f"signature.json lacks or has an unknown {error}") from error


def classes_of(signature: JsonObject, task: Task) -> tuple[str, ...]:
    """Names of the classes that a version of `task` tells; none of a regression.

    Raises:
        DataFault: It is a version of another task.
    """
    outputs = {found["name"]: found for found in signature["outputs"]}
    shape = outputs.get(PROBABILITIES, {"shape": ()})["shape"]
    names: tuple[str, ...] = tuple(outputs.get(PROBABILITIES, {}).get("classes", ()))
    match task:
        case Task.BINARY if shape == [-1, len(TWO_CLASSES)]:
            return TWO_CLASSES
        case Task.MULTICLASS if names and shape == [-1, len(names)]:
            return names
        case Task.REGRESSION if PREDICTION in outputs:
            return ()
    raise DataFault(f"signature.json is none of a {task}, which the job's spec.task asks for")


def profile(fitted: Table, held_out: Table, told: Probabilities) -> dict[str, Any]:
    """`profile.json`: features and label of the fitted rows, scores of the held-out ones; features
    and scores once more slice by slice; some whole rows of either part.

    Of two classes, whose score is the probability of label 1, or of quantities, whose score they
    are: nothing is promised by them, so that there is no reliability. Texts have no profile:
    nothing of what people wrote is in it.
    """
    label_bins = FrozenBins.numeric(np.array([0, 1]) if fitted.classes else fitted.label)
    score_bins = FrozenBins.numeric(told)
    columns = {**fitted.numeric, **fitted.categorical}
    features = feature_profiles(
        columns,
        categorical=set(fitted.categorical),
        time_us=fitted.event_time_us,
    )
    score = ColumnProfile.of(score_bins, told, held_out.event_time_us)
    reliability = (
        reliability_of(score, told, held_out.label, held_out.event_time_us)
        if fitted.classes
        else None
    )
    return Profile(
        features=features,
        score=score,
        label=ColumnProfile.of(label_bins, fitted.label, fitted.event_time_us),
        n=len(fitted),
        sample=RowSample.of(columns, features, fitted.event_time_us) if columns else None,
        reliability=reliability,
        slices=slice_sketches(
            features,
            columns,
            fitted.slices,
            score=score,
            scores=told,
            scores_sliced_by=held_out.slices,
        ),
        held_out=ScoredSample.of(
            {**held_out.numeric, **held_out.categorical}, features, told, held_out.event_time_us
        )
        if columns
        else None,
    ).to_json()


def split_parquet(split: Split) -> bytes:
    """`split.parquet`: position in the snapshot and part of each row, in the order of the parts."""
    rows = {"train": split.train, "validation": split.validation, "test": split.test}
    parts = np.repeat(np.arange(len(rows), dtype=np.int8), [len(each) for each in rows.values()])
    table = pa.table(
        {
            "row": split.all,
            "part": pa.DictionaryArray.from_arrays(parts, list(rows)),
        }
    )
    sink = pa.BufferOutputStream()
    pq.write_table(
        table,
        sink,
        compression="zstd",
        use_dictionary=["part"],
        column_encoding={"row": "DELTA_BINARY_PACKED"},
    )
    return bytes(sink.getvalue())


def scores_json(scores: Scores) -> dict[str, Any]:
    """Metrics with the number of rows they were taken over."""
    return {"rows": scores.rows, **scores.metrics, **scores.by_class}


def slice_json(found: SliceScores) -> dict[str, Any]:
    """One slice with its metrics."""
    return {"column": found.column, "value": found.value, **scores_json(found.scores)}


def _outputs(classes: Sequence[str]) -> list[dict[str, Any]]:
    """A quantity, or a label and probabilities, named where they are of more than 0 and 1."""
    if not classes:
        return [{"name": PREDICTION, "datatype": "FP32", "shape": [-1, 1]}]
    told = {"name": PROBABILITIES, "datatype": "FP32", "shape": [-1, len(classes)]}
    names = {} if len(classes) == len(TWO_CLASSES) else {"classes": list(classes)}
    return [{"name": "label", "datatype": "INT64", "shape": [-1]}, {**told, **names}]


def _input(
    name: str,
    datatype: str,
    bounds: tuple[float | None, float | None],
    categories: list[str] | None,
) -> dict[str, Any]:
    return {
        "name": name,
        "datatype": datatype,
        "shape": [-1, 1],
        "nullable": True,
        "minimum": bounds[0],
        "maximum": bounds[1],
        "categories": categories,
    }
