"""Texts, and an encoder of them small enough to train in a second."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from safetensors.numpy import save_file

from services.trainer.adapters.learning.encoding import TextReader
from services.trainer.adapters.learning.loading import load_table
from services.trainer.adapters.learning.pretrained import BertShape, open_encoder, weight_shapes
from services.trainer.core.spec import Candidate, Feature, FeatureKind, JobSpec
from services.trainer.core.splits import SplitMethod
from services.trainer.core.tables import Table
from tests.support.trainer_values import EPOCH, parquet_of, spec

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")
LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"
WORDS = ("a", "the", "film", "##ing", "##ed", "act", "dull", "##ness", "bright", "##ly", "good")
SYMBOLS = "!,.-'[]#日本éα가각가"
PIECES = tuple(
    dict.fromkeys((*SPECIAL, *LETTERS, *(f"##{each}" for each in LETTERS), *WORDS, *SYMBOLS))
)
SHAPE = BertShape(
    layers=2, heads=2, width=16, inner=32, tokens=len(PIECES), positions=64, epsilon=1e-12
)


def tokenizer_json(**normalizer: Any) -> dict[str, Any]:
    """A `tokenizer.json` over `PIECES`."""
    return {
        "added_tokens": [{"id": at, "content": each} for at, each in enumerate(SPECIAL)],
        "normalizer": {
            "type": "BertNormalizer",
            "clean_text": True,
            "handle_chinese_chars": True,
            "strip_accents": None,
            "lowercase": True,
            **normalizer,
        },
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "model": {
            "type": "WordPiece",
            "unk_token": "[UNK]",
            "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100,
            "vocab": {piece: at for at, piece in enumerate(PIECES)},
        },
    }


def config_json(**changes: Any) -> dict[str, Any]:
    """A `config.json` of `SHAPE`."""
    return {
        "model_type": "bert",
        "hidden_act": "gelu",
        "num_hidden_layers": SHAPE.layers,
        "num_attention_heads": SHAPE.heads,
        "hidden_size": SHAPE.width,
        "intermediate_size": SHAPE.inner,
        "vocab_size": SHAPE.tokens,
        "max_position_embeddings": SHAPE.positions,
        "layer_norm_eps": SHAPE.epsilon,
        **changes,
    }


def small_encoder(folder: Path, seed: int = 0) -> Path:
    """`folder`, with an encoder that has learned nothing."""
    random = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    weights = {
        f"bert.{name}": random.normal(name.endswith("LayerNorm.weight"), 0.3, shape).astype("f4")
        for name, shape in weight_shapes(SHAPE).items()
    }
    save_file(weights, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(config_json()))
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer_json()))
    (folder / "README.md").write_text("---\nlanguage: en\nlicense: apache-2.0\n---\n# Small\n")
    return folder


def reader(folder: Path, max_tokens: int = 24) -> TextReader:
    """By the encoder that `small_encoder` made."""
    return TextReader(open_encoder("small", str(folder)), max_tokens, "review")


def text_rows(rows: int = 240, seed: int = 0) -> pa.Table:
    """Texts in which `good` makes a praise likelier, some of them missing."""
    random = np.random.default_rng(seed)
    praise = random.random(rows) < 0.5
    texts: list[str | None] = []
    for good in praise:
        words = list(random.choice(["the", "film", "a", "acting", "dullness", "zebra", "Épée"], 6))
        if good == (random.random() < 0.95):
            words.insert(int(random.integers(0, 6)), "good!")
        texts.append(None if random.random() < 0.02 else " ".join(words))
    start_us = int(EPOCH.timestamp() * 1e6)
    times = [start_us + row * 60_000_000 for row in range(rows)]
    return pa.table(
        {
            "written": pa.array(times, pa.timestamp("us", tz="UTC")),
            "review": pa.array(texts, pa.string()),
            "praise": praise.astype(np.int64),
        }
    )


def text_spec(*algorithms: str, max_tokens: int = 24, **changes: Any) -> JobSpec:
    """A spec for `text_rows`."""
    fields: dict[str, Any] = {
        "target": "praise",
        "features": (Feature("review", FeatureKind.TEXT, encoder="small", max_tokens=max_tokens),),
        "time_column": "written",
        "split_method": SplitMethod.STRATIFIED,
        "slices": (),
        "candidates": tuple(Candidate(each, {}) for each in algorithms or ("text_frozen",)),
    }
    return spec(**{**fields, **changes})


def text_table(rows: int = 240, seed: int = 0) -> Table:
    """`text_rows` as they are trained on."""
    return load_table([parquet_of(text_rows(rows, seed))], text_spec())
