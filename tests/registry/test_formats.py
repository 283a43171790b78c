"""Which files may be in a bundle, by their content and not their names."""

from __future__ import annotations

import io
import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import joblib
import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper
from safetensors.numpy import save

from services.registry.adapters.formats.inspector import ContentInspector
from services.registry.adapters.formats.pickles import is_pickle
from tests.support.bundles import TinyModel


class Calls:
    """Unpickled, it would call something."""

    def __reduce__(self) -> tuple[object, ...]:
        return (print, ("unpickled",))


def fault(tmp_path: Path, path: str, data: bytes, **others: int) -> str | None:
    local = tmp_path / "file"
    local.write_bytes(data)
    return ContentInspector().fault(path, local, {path: len(data), **others})


def archive() -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as file:
        file.writestr("archive/data.pkl", pickle.dumps(Calls()))
    return target.getvalue()


def saved(write: Callable[[io.BytesIO], object]) -> bytes:
    target = io.BytesIO()
    write(target)
    return target.getvalue()


@pytest.mark.parametrize("path", ["notes.txt", "card.md", "rows.csv", "weights.data", "model.onnx"])
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("value", [Calls(), {"a": [1, 2.5]}], ids=["calls", "plain"])
def test_a_pickle_of_any_protocol_is_refused_under_any_name(
    tmp_path: Path, path: str, protocol: int, value: object
) -> None:
    found = fault(tmp_path, path, pickle.dumps(value, protocol=protocol))
    assert found is not None
    assert "pickle" in found


@pytest.mark.parametrize("protocol", [0, 1])
def test_a_pickle_is_refused_whatever_stands_behind_its_call(tmp_path: Path, protocol: int) -> None:
    data = pickle.dumps(Calls(), protocol=protocol)
    assert fault(tmp_path, "notes.txt", data[:-1] + b" and then a long text follows\n") is not None


@pytest.mark.parametrize(
    "text",
    [
        *("# A model card\n\nIt predicts.", "Notes.", "carrier\nAA\nUA\n", "(see the card)", ""),
        *("I am a text.\n", "city\nParis\nRome\n", "i\n1\n2\n", "c\nalpha\nbeta\n" * 50, "größe\n"),
    ],
)
def test_plain_texts_are_taken(tmp_path: Path, text: str) -> None:
    assert fault(tmp_path, "card.md", text.encode()) is None


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(st.text(max_size=200))
def test_what_is_refused_as_a_pickle_could_be_unpickled_or_calls(text: str) -> None:
    data = text.encode()
    if is_pickle(io.BytesIO(data)):
        assert b"." in data or b"R" in data or b"i" in data or b"b" in data or b"o" in data


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (archive(), "zip"),
        (b"\x08\x0a" * 100 + archive(), "zip"),
        (saved(lambda file: np.savez(file, a=np.zeros(3))), "zip"),
        (saved(lambda file: np.save(file, np.array([{}]), allow_pickle=True)), "NumPy"),
        (saved(lambda file: joblib.dump(Calls(), file)), "pickle"),
        (saved(lambda file: joblib.dump(Calls(), file, compress=3)), "compressed"),
        (saved(lambda file: joblib.dump(Calls(), file, compress=("gzip", 3))), "compressed"),
        (saved(lambda file: joblib.dump(Calls(), file, compress=("lzma", 3))), "compressed"),
        (saved(lambda file: joblib.dump(Calls(), file, compress=("xz", 3))), "compressed"),
        (saved(lambda file: joblib.dump(Calls(), file, compress=("bz2", 3))), "compressed"),
        (b"\x89HDF\r\n\x1a\n" + b"\0" * 100, "HDF5"),
        (b"\0" * 2048 + b"\x89HDF\r\n\x1a\n" + b"\0" * 100, "HDF5"),
        (b"\x7fELF" + b"\0" * 100, "program"),
        (b"MZ" + b"\0" * 58 + (64).to_bytes(4, "little") + b"PE\0\0", "program"),
        (b"#!/bin/sh\n", "script"),
    ],
)
@pytest.mark.parametrize("path", ["weights.data", "model.onnx", "native/model.safetensors"])
def test_containers_of_code_are_refused_under_any_name(
    tmp_path: Path, path: str, data: bytes, kind: str
) -> None:
    found = fault(tmp_path, path, data)
    assert found is not None
    assert kind in found


def test_raw_weights_are_taken(tmp_path: Path) -> None:
    data = np.random.default_rng(7).normal(size=50_000).astype(np.float32).tobytes()
    assert fault(tmp_path, "weights.data", data) is None
    assert fault(tmp_path, "weights.data", b"\0" * 10_000) is None


def test_safetensors_are_taken_only_with_a_header_that_fits(tmp_path: Path) -> None:
    path = "native/model.safetensors"
    whole = save({"w": np.zeros((2, 3), np.float32)})
    assert fault(tmp_path, path, whole) is None
    gap = json.dumps({"w": {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]}}).encode()
    for data in (
        whole[:-1],
        whole + b"more",
        b"",
        (2**40).to_bytes(8, "little") + b"{}",
        (2).to_bytes(8, "little") + b"no",
        len(gap).to_bytes(8, "little") + gap + b"\0" * 8,
    ):
        found = fault(tmp_path, path, data)
        assert found is not None
        assert "safetensors header" in found


def graph(*nodes: onnx.NodeProto, functions: tuple[onnx.FunctionProto, ...] = ()) -> bytes:
    """A model of these nodes, with the operator sets that they name."""
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, 1])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, 1])
    domains = {node.domain for node in nodes} | {"", "ai.onnx.ml"}
    model = helper.make_model(
        helper.make_graph(list(nodes), "g", [x], [y]),
        opset_imports=[helper.make_opsetid(domain, 17) for domain in domains],
        functions=list(functions),
    )
    return bytes(model.SerializeToString())


def test_a_graph_of_built_in_operators_is_taken(tmp_path: Path) -> None:
    assert fault(tmp_path, "model.onnx", TinyModel().onnx()) is None
    gelu = helper.make_node("Gelu", ["x"], ["y"], domain="com.microsoft")
    assert fault(tmp_path, "model.onnx", graph(gelu)) is None


def test_a_function_of_the_models_own_needs_no_library(tmp_path: Path) -> None:
    twice = helper.make_function(
        "own",
        "Twice",
        ["a"],
        ["b"],
        [helper.make_node("Add", ["a", "a"], ["b"])],
        [helper.make_opsetid("", 17)],
    )
    node = helper.make_node("Twice", ["x"], ["y"], domain="own")
    assert fault(tmp_path, "model.onnx", graph(node, functions=(twice,))) is None
    assert fault(tmp_path, "model.onnx", graph(node)) is not None


@pytest.mark.parametrize(
    ("domain", "operator", "kind"),
    [
        ("my.ops", "Fast", "library"),
        ("ai.onnx.contrib", "PyOp", "library"),
        ("com.microsoft", "PythonOp", "outside"),
        ("com.microsoft", "EPContext", "outside"),
    ],
)
def test_operators_that_need_code_are_refused_however_deep(
    tmp_path: Path, domain: str, operator: str, kind: str
) -> None:
    node = helper.make_node(operator, ["x"], ["y"], domain=domain)
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, 1])
    branch = helper.make_graph([node], "branch", [], [y])
    nested = helper.make_node("If", ["x"], ["y"], then_branch=branch, else_branch=branch)
    function = helper.make_function(
        "own", "F", ["x"], ["y"], [node], [helper.make_opsetid(domain, 1)]
    )
    for data in (graph(node), graph(nested), graph(functions=(function,))):
        found = fault(tmp_path, "model.onnx", data)
        assert found is not None
        assert operator in found
        assert kind in found


def outside(location: str, **place: str) -> bytes:
    """A model whose weights are said to lie in another file."""
    model = onnx.ModelProto()
    model.ParseFromString(TinyModel().onnx())
    tensor = model.graph.initializer[0]
    tensor.ClearField("float_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in {"location": location, **place}.items():
        tensor.external_data.add(key=key, value=value)
    return bytes(model.SerializeToString())


def test_weights_beside_the_graph_are_taken(tmp_path: Path) -> None:
    data = outside("w.data", offset="4", length="8")
    assert fault(tmp_path, "a/model.onnx", data, **{"a/w.data": 12}) is None
    for sizes in ({"a/w.data": 11}, {"w.data": 12}, {}):
        assert fault(tmp_path, "a/model.onnx", data, **sizes) is not None


@pytest.mark.parametrize(
    "location", ["../w.data", "/etc/passwd", "a/../../w.data", "..\\w.data", "~/w.data", ""]
)
def test_weights_outside_the_bundle_are_refused(tmp_path: Path, location: str) -> None:
    found = fault(tmp_path, "model.onnx", outside(location), **{"w.data": 100})
    assert found is not None
    assert "outside the bundle" in found


@pytest.mark.parametrize(
    ("path", "data"),
    [
        ("model.onnx", b"\xff\xff no protobuf"),
        ("rows.parquet", b"PAR1 but cut off"),
        ("rows.parquet", b""),
        ("card.md", b"\xff\xfe"),
        ("card.md", b"a\0b"),
        ("rows.csv", "größe".encode()[:-2]),
    ],
)
def test_a_file_that_is_not_what_its_name_says_is_refused(
    tmp_path: Path, path: str, data: bytes
) -> None:
    assert fault(tmp_path, path, data) is not None


def test_a_parquet_file_is_taken(tmp_path: Path) -> None:
    assert fault(tmp_path, "rows.parquet", b"PAR1....PAR1") is None
