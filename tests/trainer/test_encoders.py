"""Pretrained encoders: where they may be, what is refused, and what is known of one."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from services.trainer.adapters.learning.pretrained import (
    NOT_STATED,
    UnusableEncoder,
    open_encoder,
    open_encoders,
)
from services.trainer.adapters.learning.reading import reader_of
from services.trainer.core.failures import DataFault
from services.trainer.settings import TrainerSettings
from tests.support.text_values import (
    SHAPE,
    config_json,
    small_encoder,
    text_spec,
    tokenizer_json,
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Of an encoder."""
    return small_encoder(tmp_path / "small")


def test_an_encoder_tells_its_sizes_its_licence_and_a_digest_of_all_that_it_is(
    folder: Path,
) -> None:
    encoder = open_encoder("small", str(folder))
    assert (encoder.shape, encoder.licence) == (SHAPE, "apache-2.0")
    before = encoder.digest
    assert before == open_encoder("other", str(folder)).digest
    weights = load_file(folder / "model.safetensors")
    name = "bert.embeddings.LayerNorm.bias"
    save_file({**weights, name: weights[name] + 1}, folder / "model.safetensors")
    assert open_encoder("small", str(folder)).digest != before
    (folder / "README.md").unlink()
    assert open_encoder("small", str(folder)).licence == NOT_STATED


def test_an_encoder_of_an_installed_package_is_found_without_running_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "small_encoder_package"
    small_encoder(package / "model")
    (package / "__init__.py").write_text("raise RuntimeError('it was imported')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    found = open_encoders({"small": "small_encoder_package:model"})
    assert found["small"].folder == package / "model"


@pytest.mark.parametrize("place", ["relative/folder", "no_such_package:model", "/no/such/folder"])
def test_a_place_without_an_encoder_is_named_with_the_reason(place: str) -> None:
    with pytest.raises(UnusableEncoder, match="'small' can't be used"):
        open_encoder("small", place)


@pytest.mark.parametrize(
    ("file", "document"),
    [
        ("config.json", config_json(model_type="roberta")),
        ("config.json", config_json(hidden_act="relu")),
        ("config.json", config_json(position_embedding_type="relative_key")),
        ("config.json", config_json(num_attention_heads=3)),
        ("config.json", {"model_type": "bert"}),
        ("tokenizer.json", {**tokenizer_json(), "model": {"type": "BPE"}}),
        ("tokenizer.json", tokenizer_json(clean_text=False)),
        ("tokenizer.json", tokenizer_json(type="NFKC")),
        ("tokenizer.json", []),
    ],
)
def test_an_encoder_of_another_kind_is_refused(folder: Path, file: str, document: Any) -> None:
    (folder / file).write_text(json.dumps(document))
    with pytest.raises(UnusableEncoder, match=file.partition(".")[0]):
        open_encoder("small", str(folder))


def test_weights_that_are_missing_misshapen_or_pickled_are_refused(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    name = "bert.encoder.layer.1.output.dense.weight"
    for broken in (
        {each: values for each, values in weights.items() if each != name},
        {**weights, name: np.zeros((2, 2), np.float32)},
    ):
        save_file(broken, folder / "model.safetensors")
        with pytest.raises(UnusableEncoder, match=r"encoder\.layer\.1\.output\.dense\.weight"):
            open_encoder("small", str(folder)).weights()
    (folder / "model.safetensors").write_bytes(pickle.dumps({name: 1}))
    with pytest.raises(UnusableEncoder, match="can't be read"):
        open_encoder("small", str(folder)).weights()
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(UnusableEncoder, match="nothing else is loaded"):
        open_encoder("small", str(folder))


def test_a_job_whose_encoder_is_gone_is_a_data_fault(folder: Path) -> None:
    found = reader_of(text_spec(max_tokens=9), {"small": str(folder)})
    assert found is not None
    assert found.max_tokens == 9
    for places in ({}, {"small": str(folder / "gone")}):
        with pytest.raises(DataFault, match="small"):
            reader_of(text_spec(), places)


@pytest.mark.parametrize("name", ["../small", "Small", "", "a/b"])
def test_a_name_that_could_be_a_path_is_no_name_of_an_encoder(name: str, folder: Path) -> None:
    with pytest.raises(ValueError, match="encoders"):
        TrainerSettings(encoders={name: str(folder)})
