"""A profile that anybody wrote is read whole, or refused in words."""

from __future__ import annotations

import json
from typing import Any

import pytest

from services.common.reading_profiles import ProfileFault, read_profile
from tests.support.predictions import World


@pytest.fixture(scope="module")
def written() -> str:
    """As the trainer writes it: with sorted keys."""
    return json.dumps(World(1).profile(n=600).to_json(), sort_keys=True)


def test_samples_have_their_columns_in_the_order_of_the_features(written):
    made, read = World(1).profile(n=600), read_profile(written.encode())
    assert tuple(made.features) == ("wind", "origin")
    assert tuple(read.features) == ("origin", "wind")
    for before, after in ((made.sample, read.sample), (made.held_out.rows, read.held_out.rows)):
        assert after.names == ("origin", "wind")
        assert after.codes[:, ::-1].tolist() == before.codes.tolist()
        assert after.days.tolist() == before.days.tolist()
    assert read.held_out.scores.tolist() == made.held_out.scores.tolist()


def changed(document: Any, path: str, value: Any) -> None:
    *steps, last = (int(step) if step.isdigit() else step for step in path.split("."))
    for step in steps:
        document = document[step]
    document[last] = value


def without(document: Any, path: tuple[str, ...]) -> None:
    for step in path[:-1]:
        document = document[step]
    del document[path[-1]]


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("features", [], "is no profile"),
        ("features.wind.bins.edges.5", float("nan"), "features.wind.bins.edges"),
        ("features.wind.bins.edges", [], "is no profile"),
        ("features.wind.counts.0", -1, "features.wind.counts must be counts"),
        ("features.wind.counts", [1, 2], "is no profile"),
        ("features.wind.days.1", 0, "features.wind.days must ascend"),
        ("features.wind.days", [1], "features.wind.days must be of shape"),
        ("score.blocks.0.0", -5, "score.blocks must be counts"),
        ("label.counts", "many", "is no profile"),
        ("n", "many", "is no profile"),
        ("sample.names", ["wind", "speed"], "is no profile"),
        ("sample.codes.0.0", 10_000, "sample.codes must be places of bins"),
        ("sample.days", [1], "sample.days must be of shape"),
        ("held_out.codes.0.0", -1, "held_out.codes must be places of bins"),
        ("held_out.scores", [0.5], "held_out.scores must be of shape"),
        ("reliability", [[[1, 2]]], "reliability must be of shape"),
        ("slices.origin.columns", {}, "slices.origin.columns must be the features"),
        ("slices.origin.columns.wind", [[1]], "slices.origin.columns.wind must be of"),
        ("slices.origin.score.0.0", -1, "slices.origin.score must be counts"),
        ("slices.origin.by.kind", "numeric", "is no profile"),
        ("slices", 3, "is no profile"),
    ],
)
def test_what_does_not_go_together_is_refused_by_name(written, path, value, words):
    document = json.loads(written)
    changed(document, path, value)
    with pytest.raises(ProfileFault, match=words):
        read_profile(json.dumps(document).encode())


@pytest.mark.parametrize("path", [("features",), ("score", "bins"), ("sample", "codes"), ("n",)])
def test_what_lacks_is_named(written, path):
    document = json.loads(written)
    without(document, path)
    with pytest.raises(ProfileFault, match=f"lacks '{path[-1]}'"):
        read_profile(json.dumps(document).encode())


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"\xff", b"[" * 100_000])
def test_what_is_no_object_is_no_profile(content):
    with pytest.raises(ProfileFault, match=r"profile\.json is no profile"):
        read_profile(content)


def test_a_profile_of_before_there_were_samples_is_read(written):
    document = json.loads(written)
    for later in ("sample", "reliability", "slices", "held_out"):
        del document[later]
    profile = read_profile(json.dumps(document).encode())
    assert (profile.sample, profile.held_out, profile.slices) == (None, None, {})
