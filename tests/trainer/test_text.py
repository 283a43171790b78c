"""Texts: tokens in the graph, fits that go on, and graphs that tell what the model tells."""

from __future__ import annotations

import random

import numpy as np
import onnxruntime
import pandas as pd
import pytest
from skl2onnx import convert_sklearn
from skl2onnx.common.data_types import StringTensorType
from sklearn.pipeline import Pipeline

from services.trainer.adapters.export.bundle import features_of, profile, signature
from services.trainer.adapters.export.graph import (
    HARD_TEXTS,
    TARGET_OPSET,
    check_parity,
    export_graph,
)
from services.trainer.adapters.export.runtime import GraphModel
from services.trainer.adapters.learning.encoding import TextReader
from services.trainer.adapters.learning.trials import TrainedModel, Workbench
from services.trainer.adapters.learning.wordpiece_graph import register_tokens_converter
from services.trainer.adapters.recipes import text
from services.trainer.core.data_report import data_report
from services.trainer.core.jobs import Trial
from services.trainer.core.parameters import completed
from services.trainer.core.partition import parted
from services.trainer.core.tables import Table
from tests.support.fits import Interrupted, Recorder
from tests.support.text_values import PIECES, reader, small_encoder, text_spec, text_table

RECIPES = {each.algorithm: each for each in (text.FROZEN, text.LORA, text.FULL)}
FEW = {
    "text_frozen": {"epochs": 3.0},
    "text_lora": {"epochs": 3.0, "rank": 2.0, "learning_rate": 0.01},
    "text_full": {"epochs": 3.0, "learning_rate": 0.003},
}
ODD = (
    "aA bB the Film acting actedly good dullness [SEP] ##ing",
    "Épée e\u0301 ÀÇ İ ß ς \u1f82 ﬁ",
    "日本 국가 가각 \u3000\u00a0\u2028",
    "\x00\x07\x85\u200d\u202e\ufffd\U000e0001\U00019a76\ue000",
    "0123 !?,.-'#[]()$€ 😀👩\u200d👧",
)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> TextReader:
    """Reads texts with an encoder that has learned nothing."""
    return reader(small_encoder(tmp_path_factory.mktemp("encoders") / "small"))


@pytest.fixture(scope="module")
def rows() -> Table:
    """Reviews."""
    return text_table()


def trial(algorithm: str) -> Trial:
    return Trial("only", 0, algorithm, completed(FEW[algorithm], RECIPES[algorithm].rules))


def bench_of(rows: Table, small: TextReader) -> Workbench:
    job = text_spec(*RECIPES)
    return Workbench(job, RECIPES, rows, parted(job, rows), cores=1, reader=small)


def made_up(count: int, seed: int) -> list[str]:
    """Texts of 0 to 120 characters out of everything that there is, and of `ODD` and pieces."""
    dice = random.Random(seed)
    words = [*PIECES, *"".join(ODD), " ", " ", "a" * 99, "a" * 100, "a" * 101]

    def part() -> str:
        if dice.random() < 0.9:
            return dice.choice(words)
        return chr(dice.choice([*range(1, 0xD800), *range(0xE000, 0xF000)]))

    return ["".join(part() for _ in range(dice.choice([0, 1, 4, 30, 120]))) for _ in range(count)]


def test_the_graph_cuts_every_text_into_the_same_tokens(small: TextReader) -> None:
    texts = ["", *ODD, *HARD_TEXTS, *made_up(600, seed=3), "the " * 3000, " " * 5000 + "a"]
    shorter = TextReader(small.encoder, 12, "review")
    frame = pd.DataFrame({"review": texts})
    table = text_table(2).replaced({"review": np.array(["a", "b"], dtype=object)})
    encoder = shorter.transformer(table).fit(frame)
    register_tokens_converter()
    model = convert_sklearn(
        Pipeline([("encoder", encoder)]),
        initial_types=[("review", StringTensorType([None, 1]))],
        target_opset=TARGET_OPSET,
    )
    assert {each.domain for each in model.opset_import} == {"", "ai.onnx.ml", "com.microsoft"}
    session = onnxruntime.InferenceSession(model.SerializeToString())
    column = np.array(texts, dtype=object).reshape(-1, 1)
    apart = [session.run(None, {"review": column[at : at + 1]})[0] for at in range(len(ODD) + 1)]
    (told,) = session.run(None, {"review": column})
    np.testing.assert_array_equal(told, encoder.transform(frame))
    np.testing.assert_array_equal(told[: len(ODD) + 1], np.concatenate(apart))


@pytest.mark.parametrize(
    ("written", "pieces"),
    [
        ("The FILM, acted!", ["the", "film", ",", "act", "##ed", "!"]),
        ("Épée", ["e", "##p", "##e", "##e"]),
        ("日本 dull", ["日", "本", "dull"]),
        ("가각", ["[UNK]"]),
        ("x\u200dy\tz", ["x", "##y", "z"]),
        ("a" * 100, ["a", *["##a"] * 21]),
        ("a" * 101, ["[UNK]"]),
        ("act☃ good", ["[UNK]", "good"]),
        ("", []),
    ],
)
def test_texts_are_cut_as_tokenizers_cuts_them(
    small: TextReader, written: str, pieces: list[str]
) -> None:
    (row,) = small.encoder.tokenizer.rows([written], 24)
    known = [PIECES[int(token)] for token in row]
    expected = ["[CLS]", *pieces, "[SEP]"]
    assert known == [*expected, *["[PAD]"] * (24 - len(expected))]


@pytest.mark.parametrize("algorithm", RECIPES)
def test_a_text_fit_that_goes_on_from_a_checkpoint_is_the_one_that_never_stopped(
    rows: Table, small: TextReader, algorithm: str
) -> None:
    bench = bench_of(rows, small)
    whole, first, second = Recorder(), Recorder(stop_after=1), Recorder()
    expected = bench.run_trial(trial(algorithm), whole, None)
    with pytest.raises(Interrupted):
        bench.run_trial(trial(algorithm), first, None)
    assert bench.run_trial(trial(algorithm), second, first.checkpoints[-1]) == expected
    assert first.steps + second.steps == whole.steps
    assert first.checkpoints + second.checkpoints == whole.checkpoints


def trained(rows: Table, small: TextReader, algorithm: str) -> TrainedModel:
    bench = bench_of(rows, small)
    outcome = bench.run_trial(trial(algorithm), Recorder(), None)
    return bench.retrain(outcome, Recorder(), None)


@pytest.mark.parametrize("algorithm", RECIPES)
def test_what_is_learned_is_what_the_graph_tells(
    rows: Table, small: TextReader, algorithm: str
) -> None:
    model = trained(rows, small, algorithm)
    text.teach_export()
    runtime = GraphModel(export_graph(model.encoder, model.estimator, rows), 1)
    assert check_parity(runtime, model.encoder, model.estimator, rows) < 1e-5
    before = small.encoder.weights()
    changed = {
        name for name, learned in model.estimator.tensors.items() if (learned != before[name]).any()
    }
    adapted = {name for name in before if name.endswith(text.ADAPTED)}
    assert {"text_frozen": set(), "text_lora": adapted, "text_full": before.keys() & changed}[
        algorithm
    ] == changed
    assert (algorithm == "text_full") == ("encoder.layer.0.output.dense.weight" in changed)


@pytest.mark.real
def test_ten_thousand_texts_are_told_alike_by_graph_and_model(
    rows: Table, small: TextReader
) -> None:
    model = trained(rows, small, "text_frozen")
    text.teach_export()
    runtime = GraphModel(export_graph(model.encoder, model.estimator, rows), 1)
    texts = [*made_up(9_700, seed=1), *["", "the film " * 500] * 150]
    many = rows.take(np.zeros(len(texts), dtype=np.int64))
    many = many.replaced({"review": np.array(texts, dtype=object)})
    assert check_parity(runtime, model.encoder, model.estimator, many) <= 1e-5


def test_nothing_that_people_wrote_is_in_the_files_about_a_version(rows: Table) -> None:
    job = text_spec()
    found = signature(rows, job.features)
    assert features_of(found) == job.features
    (read,) = found["inputs"]
    assert (read["datatype"], read["categories"]) == ("BYTES", None)
    told = profile(rows, rows, np.linspace(0, 1, len(rows), dtype=np.float32))
    assert told["features"] == {}
    assert "sample" not in told


def test_the_report_counts_missing_texts_and_finds_nothing_that_stops_a_job(rows: Table) -> None:
    job = text_spec()
    found = data_report(job, rows, parted(job, rows), {})
    found.check()
    (column,) = found.columns
    assert column.missing == (rows.text["review"] == "").sum() > 0
