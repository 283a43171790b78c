"""What reads the text of a job."""

from __future__ import annotations

from collections.abc import Mapping

from services.trainer.adapters.learning.encoding import TextReader
from services.trainer.adapters.learning.pretrained import UnusableEncoder, open_encoder
from services.trainer.core.failures import DataFault
from services.trainer.core.spec import FeatureKind, JobSpec


def reader_of(spec: JobSpec, places: Mapping[str, str]) -> TextReader | None:
    """How the only text among the features of `spec` is read; None where there is none.

    Args:
        spec: Without faults.
        places: See `open_encoders`.

    Raises:
        DataFault: Its encoder is not there any more.
    """
    texts = [feature for feature in spec.features if feature.kind is FeatureKind.TEXT]
    if not texts:
        return None
    (feature,) = texts
    place = places.get(feature.encoder)
    if place is None:
        raise DataFault(f"encoder {feature.encoder!r} of {feature.name} isn't configured any more")
    try:
        encoder = open_encoder(feature.encoder, place)
    except UnusableEncoder as error:
        raise DataFault(str(error)) from error
    return TextReader(encoder, feature.max_tokens, feature.name)
