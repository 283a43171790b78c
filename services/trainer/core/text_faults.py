"""What is wrong with how a spec reads text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from services.common.errors import FieldViolation
from services.trainer.core.abilities import Ability
from services.trainer.core.spec import Feature, FeatureKind, JobSpec
from services.trainer.core.validation import ROOT

FEWEST_TOKENS = 8
"""Of a text, the encoder's own two included."""


def text_faults(
    spec: JobSpec, abilities: Mapping[str, Ability], encoders: Mapping[str, int]
) -> Iterator[FieldViolation]:
    """Everything in `spec` that asks too much of encoders, or of algorithms that meet a text.

    Args:
        spec: As it was sent.
        abilities: What each algorithm of the mode can do; one that isn't there reads no text.
        encoders: Tokens that each encoder can read at most, by name.
    """
    for index, feature in enumerate(spec.features):
        yield from _feature_faults(feature, f"{ROOT}.features[{index}]", encoders)
    texts = spec.named(FeatureKind.TEXT)
    alone = len(texts) == 1 and len(spec.features) == 1
    for index, candidate in enumerate(spec.candidates):
        path = f"{ROOT}.candidates[{index}].algorithm"
        if abilities.get(candidate.algorithm, Ability()).reads_text:
            if not alone and not spec.mode.keeps_the_graph:
                text = (
                    f"is {candidate.algorithm!r}, which reads one text and nothing else; the spec "
                    f"has {len(spec.features)} features, {len(texts)} of them KIND_TEXT"
                )
                yield FieldViolation(path, text)
        elif texts:
            able = sorted(name for name, ability in abilities.items() if ability.reads_text)
            can = f"; {', '.join(able)} can" if able else ""
            text = f"is {candidate.algorithm!r}, which can't read the text {texts[0]!r}{can}"
            yield FieldViolation(path, text)


def _feature_faults(
    feature: Feature, path: str, encoders: Mapping[str, int]
) -> Iterator[FieldViolation]:
    if feature.kind is not FeatureKind.TEXT:
        for name, value in (("encoder", feature.encoder), ("max_tokens", feature.max_tokens)):
            if value:
                yield FieldViolation(f"{path}.{name}", "is for text features")
        return
    longest = encoders.get(feature.encoder)
    if longest is None:
        known = f"one of {', '.join(sorted(encoders))}" if encoders else "configured first"
        text = f"is {feature.encoder!r}; it must be {known}: the trainer's operator names encoders"
        yield FieldViolation(f"{path}.encoder", text)
    elif not FEWEST_TOKENS <= feature.max_tokens <= longest:
        text = (
            f"is {feature.max_tokens}; must lie between {FEWEST_TOKENS} and {longest}, "
            f"which is as much as {feature.encoder!r} can read"
        )
        yield FieldViolation(f"{path}.max_tokens", text)
