"""Reads profiles that anybody may have written: what is not whole is refused in words."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Final

import numpy as np

from services.common.profiles import ColumnProfile, Profile, RowSample
from services.common.sketches import BinKind, Counts
from services.common.slice_sketches import SliceSketches

MOST_BYTES: Final = 256 * 2**20
"""Of a profile; one of 1,000 features has some 20 MB."""


class ProfileFault(ValueError):
    """A `profile.json` that can't be used; the message says why."""


def read_profile(content: bytes) -> Profile:
    """The profile in the content of a `profile.json`.

    Raises:
        ProfileFault: It is none, or its parts don't go together.
    """
    try:
        profile = Profile.from_json(json.loads(content))
    except KeyError as error:
        raise ProfileFault(f"profile.json lacks {error}") from error
    except (ValueError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise ProfileFault(f"profile.json is no profile: {error}") from error
    for fault in _faults(profile):
        raise ProfileFault(f"profile.json: {fault}")
    return profile


def _faults(profile: Profile) -> Iterator[str]:
    for name, column in {
        **{f"features.{name}": column for name, column in profile.features.items()},
        "score": profile.score,
        "label": profile.label,
    }.items():
        yield from _faults_of_column(name, column)
    if profile.sample is not None:
        yield from _faults_of_sample("sample", profile.sample, profile)
    if profile.held_out is not None:
        yield from _faults_of_sample("held_out", profile.held_out.rows, profile)
        yield from _misshapen(
            "held_out.scores", profile.held_out.scores, (len(profile.held_out.rows.codes),)
        )
    if profile.reliability is not None:
        days = len(profile.score.blocks)
        shape = (days, profile.score.group_count, 2)
        yield from _faults_of_counts("reliability", profile.reliability, shape)
    for name, slices in profile.slices.items():
        yield from _faults_of_slices(f"slices.{name}", slices, profile)


def _faults_of_column(name: str, column: ColumnProfile) -> Iterator[str]:
    bins = column.sketch.bins
    if bins.kind is BinKind.NUMERIC and (not bins.edges or np.isnan(bins.edges).any()):
        yield f"{name}.bins.edges must be numbers, at least one"
        return
    yield from _faults_of_counts(f"{name}.counts", column.sketch.counts, (bins.size,))
    shape = (len(column.blocks), column.group_count)
    yield from _faults_of_counts(f"{name}.blocks", column.blocks, shape)
    if column.days is not None:
        yield from _misshapen(f"{name}.days", column.days, (len(column.blocks),))
        if (np.diff(column.days) <= 0).any():
            yield f"{name}.days must ascend"


def _faults_of_sample(name: str, sample: RowSample, profile: Profile) -> Iterator[str]:
    if sample.names != tuple(profile.features):
        yield f"{name}.names must be the features, in their order"
        return
    yield from _misshapen(f"{name}.days", sample.days, (len(sample.codes),))
    sizes = np.array([each.sketch.bins.size for each in profile.features.values()], np.int64)
    if ((sample.codes < 0) | (sample.codes >= sizes)).any():
        yield f"{name}.codes must be places of bins"


def _faults_of_slices(name: str, slices: SliceSketches, profile: Profile) -> Iterator[str]:
    if slices.by.kind is not BinKind.CATEGORICAL:
        yield f"{name}.by must be categorical"
    if slices.columns.keys() != profile.features.keys():
        yield f"{name}.columns must be the features"
        return
    for column, counts in slices.columns.items():
        shape = (slices.by.size, profile.features[column].group_count)
        yield from _faults_of_counts(f"{name}.columns.{column}", counts, shape)
    shape = (slices.by.size, profile.score.group_count)
    yield from _faults_of_counts(f"{name}.score", slices.score, shape)


def _faults_of_counts(name: str, counts: Counts, shape: tuple[int, ...]) -> Iterator[str]:
    yield from _misshapen(name, counts, shape)
    if (counts < 0).any():
        yield f"{name} must be counts, none below 0"


def _misshapen(name: str, values: np.ndarray, shape: tuple[int, ...]) -> Iterator[str]:
    if values.shape != shape:
        yield f"{name} must be of shape {list(shape)}, not {list(values.shape)}"
