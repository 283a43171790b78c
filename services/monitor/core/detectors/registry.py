"""All detectors whose effects are held against the baseline's own wandering."""

from __future__ import annotations

from typing import Final

from services.monitor.core.detectors.categorical import CategoricalDrift
from services.monitor.core.detectors.domain_classifier import DomainClassifier
from services.monitor.core.detectors.labels import LabelDrift
from services.monitor.core.detectors.missing import MissingDrift
from services.monitor.core.detectors.new_category import NewCategory
from services.monitor.core.detectors.numeric import NumericDrift
from services.monitor.core.detectors.out_of_range import OutOfRange
from services.monitor.core.detectors.port import Detector
from services.monitor.core.detectors.predictions import PredictionDrift
from services.monitor.core.detectors.reconstruction import Reconstruction

DETECTORS: Final[tuple[Detector, ...]] = (
    NumericDrift(),
    CategoricalDrift(),
    MissingDrift(),
    OutOfRange(),
    NewCategory(),
    PredictionDrift(),
    LabelDrift(),
    Reconstruction(),
    DomainClassifier(),
)
"""In the order in which reports have them; a new one is a file and a line."""

KINDS: Final = {detector.name: detector.kind for detector in DETECTORS}
"""What an alarm of each is a sign of."""

WEIGHTS: Final = {detector.name: detector.weight for detector in DETECTORS}
"""Of each of their effects in the budget of false alarms."""
