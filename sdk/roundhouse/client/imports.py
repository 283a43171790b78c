"""Models that were trained elsewhere: read, checked, and registered with where they came from.

    from roundhouse.client import Client
    from roundhouse.client.imports import Provenance, import_model, read_model

    with Client() as client:
        model = read_model(Path("late.onnx"))
        version = import_model(client, "projects/default/models/late", model, Provenance(...))

Only ONNX is taken, plain or as a flavour of an MLflow model: its graph is data, and loading it
runs nobody's code. Reading one needs `pip install roundhouse[import]`.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Final

from roundhouse.client.errors import RoundhouseError
from roundhouse.registry.v1.model_pb2 import ModelVersion
from roundhouse.registry.v1.model_service_pb2 import (
    AbortVersionUploadRequest,
    BeginVersionUploadRequest,
    CommitVersionRequest,
)

if TYPE_CHECKING:
    from roundhouse.client.sync import Client

MODEL_FILE: Final = "model.onnx"
SIGNATURE_FILE: Final = "signature.json"
PROVENANCE_FILE: Final = "provenance.json"
MLFLOW_FILE: Final = "MLmodel"

_MANIFEST_FILE: Final = "manifest.json"
_LONGEST_LABEL: Final = 256
_EXPORT: Final = (
    "Export it to ONNX and import that: skl2onnx for scikit-learn, onnxmltools for LightGBM and "
    "XGBoost, torch.onnx.export for PyTorch, tf2onnx for TensorFlow."
)
_DATATYPES: Final = {
    "tensor(float)": ("FP32", "float32"),
    "tensor(double)": ("FP64", "float64"),
    "tensor(float16)": ("FP16", "float16"),
    "tensor(int8)": ("INT8", "int8"),
    "tensor(int16)": ("INT16", "int16"),
    "tensor(int32)": ("INT32", "int32"),
    "tensor(int64)": ("INT64", "int64"),
    "tensor(uint8)": ("UINT8", "uint8"),
    "tensor(uint16)": ("UINT16", "uint16"),
    "tensor(uint32)": ("UINT32", "uint32"),
    "tensor(uint64)": ("UINT64", "uint64"),
    "tensor(bool)": ("BOOL", "bool"),
    "tensor(string)": ("BYTES", "object"),
}

Json = Mapping[str, Any]  # the content of a file


class NotImportable(RoundhouseError):
    """The model can't be taken; the text says why, and the way out. Nothing was sent."""


@dataclass(frozen=True, slots=True)
class Provenance:
    """What can't be read from a model's file.

    Attributes:
        source: Where the model came from: a URI, or words that lead there.
        license: Under which terms, such as `Apache-2.0` or `proprietary`.
        owner: Who answers for it.
        snapshot: It was trained on, by resource name; empty if that is unknown.
        unknown_data_declared_by: Who declares that the data is unknown; empty if it isn't.
    """

    source: str
    license: str
    owner: str
    snapshot: str = ""
    unknown_data_declared_by: str = ""

    def __post_init__(self) -> None:
        """Refuse what says too little.

        Raises:
            NotImportable: Naming what is missing.
        """
        named = {"source": self.source, "license": self.license, "owner": self.owner}
        if missing := [name for name, value in named.items() if not value]:
            raise NotImportable(f"An import must say its {', '.join(missing)}.")
        if bool(self.snapshot) == bool(self.unknown_data_declared_by):
            raise NotImportable(
                "An import names either the snapshot that the model was trained on, or who "
                "declares that the data is unknown."
            )

    def as_json(self) -> Json:
        """What `provenance.json` says."""
        unknown = {"unknown": True, "declared_by": self.unknown_data_declared_by}
        data: Json = {"snapshot": self.snapshot} if self.snapshot else unknown
        return {
            "source": self.source,
            "license": self.license,
            "owner": self.owner,
            "data": data,
        }

    def as_labels(self) -> dict[str, str]:
        """What versions can be found by."""
        labels = {"imported_from": self.source, "license": self.license, "owner": self.owner}
        if self.unknown_data_declared_by:
            labels["data"] = f"unknown, declared by {self.unknown_data_declared_by}"
        return {key: value[:_LONGEST_LABEL] for key, value in labels.items()}


@dataclass(frozen=True, slots=True)
class ImportableModel:
    """A model that loads and runs.

    Attributes:
        files: Of the bundle, by path in it; without those that the import adds.
        signature: What `signature.json` says.
        facts: What the files tell of their making.
        notes: Why an endpoint could not serve it as it is; empty if one could.
        suggested_source: Where the files say that they came from; may be empty.
    """

    files: Mapping[str, Path]
    signature: Json
    facts: Json
    notes: Sequence[str] = ()
    suggested_source: str = field(default="")


def read_model(path: Path) -> ImportableModel:
    """The model at `path`, after it has been loaded and has answered a row of zeros.

    Args:
        path: An ONNX file, or the directory of an MLflow model with an ONNX flavour.

    Raises:
        NotImportable: It is neither, needs code to be loaded, or does not run.
    """
    if path.is_dir():
        return _read_mlflow(path)
    if not path.is_file():
        raise NotImportable(f"There is no {path}.")
    if path.suffix.lower() != ".onnx":
        raise NotImportable(
            f"{path.name} is no ONNX file. Pickles, joblib files and torch or Keras archives run "
            f"code when they are loaded and are never taken. {_EXPORT}"
        )
    return _read_onnx(path, {"format": "onnx"})


def import_model(
    client: Client, model: str, importable: ImportableModel, provenance: Provenance
) -> ModelVersion:
    """The new version, READY, with its provenance in the bundle, its labels and its lineage.

    Args:
        client: To the registry.
        model: Resource name of the model that gets the version.
        importable: What to register.
        provenance: Where it came from.

    Raises:
        CallFailed: The registry refused it, or is away; the upload was given up.
    """
    version = client.models.BeginVersionUpload(
        BeginVersionUploadRequest(
            parent=model,
            version=ModelVersion(
                labels=provenance.as_labels(),
                snapshots=[provenance.snapshot] if provenance.snapshot else [],
            ),
        )
    )
    try:
        with tempfile.TemporaryDirectory() as folder:
            files = {
                **importable.files,
                **_written(
                    Path(folder),
                    {
                        SIGNATURE_FILE: importable.signature,
                        PROVENANCE_FILE: {**provenance.as_json(), "model": importable.facts},
                    },
                ),
            }
            manifest = _manifest(files)
            files |= _written(Path(folder), {_MANIFEST_FILE: manifest})
            for path, file in files.items():
                client.upload_artifact(version.name, path, file)
            digest = _digest(files[_MANIFEST_FILE])
        return client.models.CommitVersion(
            CommitVersionRequest(name=version.name, manifest_digest=digest)
        )
    except RoundhouseError:
        client.models.AbortVersionUpload(AbortVersionUploadRequest(name=version.name))
        raise


def _read_mlflow(folder: Path) -> ImportableModel:
    try:
        import yaml
    except ModuleNotFoundError as error:
        raise _not_installed(error) from error
    file = folder / MLFLOW_FILE
    if not file.is_file():
        raise NotImportable(f"{folder} has no file {MLFLOW_FILE}, so it is no MLflow model.")
    try:
        document = yaml.safe_load(file.read_text())
        flavours = dict(document["flavors"])
    except (yaml.YAMLError, KeyError, TypeError, ValueError) as error:
        raise NotImportable(f"{file} can't be read as an MLflow model.") from error
    if "onnx" not in flavours:
        raise NotImportable(
            f"{folder.name} has only the flavours {', '.join(sorted(flavours)) or '(none)'}, which "
            "run Python code when they are loaded (python_function imports the module that it "
            f"names, sklearn and the like unpickle) and are never taken. {_EXPORT} With MLflow: "
            "mlflow.onnx.save_model(...)."
        )
    data = str(flavours["onnx"].get("data", MODEL_FILE))
    graph = folder / data
    if not graph.resolve().is_relative_to(folder.resolve()) or not graph.is_file():
        raise NotImportable(f"{file} names {data!r} as its graph, which is not in {folder.name}.")
    keys = ("run_id", "model_uuid", "model_id", "mlflow_version", "utc_time_created")
    told = {key: str(document[key]) for key in keys if document.get(key)}
    facts = {"format": "mlflow", "mlflow": {**told, "flavours": sorted(map(str, flavours))}}
    source = f"mlflow:runs/{told['run_id']}" if "run_id" in told else ""
    return _read_onnx(graph, facts, source)


def _read_onnx(path: Path, facts: Json, suggested_source: str = "") -> ImportableModel:
    try:
        import onnx
        import onnxruntime
    except ModuleNotFoundError as error:
        raise _not_installed(error) from error
    graph = onnx.ModelProto()
    try:
        graph.ParseFromString(path.read_bytes())
        weights = dict(_weights(graph, path.parent))
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        session = onnxruntime.InferenceSession(
            path, sess_options=options, providers=["CPUExecutionProvider"]
        )
    except NotImportable:
        raise
    # ONNX Runtime's and protobuf's own errors have no common base.
    except Exception as error:
        raise NotImportable(f"{path.name} can't be loaded: {_first_line(error)}") from error
    signature = _tried_signature(path.name, session)
    opsets = {entry.domain or "ai.onnx": entry.version for entry in graph.opset_import}
    producer = f"{graph.producer_name} {graph.producer_version}".strip()
    return ImportableModel(
        files={MODEL_FILE: path, **weights},
        signature=signature,
        facts={**facts, "onnx": {"producer": producer, "opsets": opsets}},
        notes=tuple(_unservable(signature)),
        suggested_source=suggested_source,
    )


def _weights(graph: Any, folder: Path) -> Iterator[tuple[str, Path]]:
    """The files beside the graph that hold its larger tensors."""
    for tensor in graph.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                location = PurePosixPath(entry.value)
                file = folder / location
                inside = file.resolve().is_relative_to(folder.resolve())
                if not inside or location.is_absolute() or not file.is_file():
                    raise NotImportable(f"Its weights lie at {entry.value!r}, which is not there.")
                yield str(location), file


def _tried_signature(name: str, session: Any) -> Json:
    """The signature of a graph, which has answered one row of zeros and empty texts."""
    import numpy as np

    inputs = [_tensor(name, "input", each) for each in session.get_inputs()]
    outputs = [_tensor(name, "output", each) for each in session.get_outputs()]
    kinds = {each.name: _DATATYPES[each.type][1] for each in session.get_inputs()}
    row = {}
    for entry in inputs:
        shape = [1 if size < 0 else size for size in entry["shape"]]
        kind = kinds[entry["name"]]
        row[entry["name"]] = np.full(shape, "" if kind == "object" else 0, dtype=kind)
    try:
        answers = session.run(None, row)
    except Exception as error:
        raise NotImportable(
            f"{name} loads, but fails on a row of zeros: {_first_line(error)}"
        ) from error
    for entry, answer in zip(outputs, answers, strict=True):
        if len(entry["shape"]) != np.ndim(answer):  # a graph need not declare its outputs' shapes
            entry["shape"] = [-1, *np.shape(answer)[1:]] if np.ndim(answer) else []
    return {"inputs": inputs, "outputs": outputs}


def _tensor(name: str, side: str, node: Any) -> dict[str, Any]:
    if node.type not in _DATATYPES:
        hint = " Export it with zipmap=False." if "map(" in node.type else ""
        raise NotImportable(
            f"{name} has the {side} {node.name!r} of the type {node.type}, which is no tensor "
            f"that the Open Inference Protocol can carry.{hint}"
        )
    shape = [size if isinstance(size, int) and size > 0 else -1 for size in node.shape or ()]
    tensor = {"name": node.name, "datatype": _DATATYPES[node.type][0], "shape": shape}
    return {**tensor, "nullable": False} if side == "input" else tensor


def _unservable(signature: Json) -> Iterator[str]:
    for entry in signature["inputs"]:
        if entry["shape"] != [-1, 1]:
            yield (
                f"input {entry['name']!r} is {entry['datatype']} {entry['shape']}; endpoints take "
                "one column [-1, 1] per feature"
            )
    if not any(_is_told(entry) for entry in signature["outputs"]):
        yield (
            "no output is probabilities FP32 [-1, 2], which endpoints decide by, or wider, or a "
            "prediction FP32 [-1, 1]"
        )


def _is_told(output: Json) -> bool:
    """Whether an output is what endpoints tell of a row."""
    columns = output["shape"][1] if len(output["shape"]) == 2 else 0
    fits = {"probabilities": columns >= 2, "prediction": columns == 1}
    return output["datatype"] == "FP32" and fits.get(output["name"], False)


def _written(folder: Path, documents: Mapping[str, Json]) -> dict[str, Path]:
    for path, document in documents.items():
        text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        (folder / path).write_text(text, encoding="utf-8")
    return {path: folder / path for path in documents}


def _manifest(files: Mapping[str, Path]) -> Json:
    return {
        "files": [
            {"path": path, "size_bytes": file.stat().st_size, "sha256": _digest(file)}
            for path, file in sorted(files.items())
        ]
    }


def _digest(file: Path) -> str:
    with file.open("rb") as source:
        return f"sha256:{hashlib.file_digest(source, 'sha256').hexdigest()}"


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]


def _not_installed(error: ModuleNotFoundError) -> NotImportable:
    return NotImportable(
        f"Importing needs {error.name}, which is not installed: pip install 'roundhouse[import]'"
    )
