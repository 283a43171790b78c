"""What is written about a version beside its graph: how it was made and how good it is."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from services.trainer.adapters.export.bundle import scores_json, slice_json
from services.trainer.adapters.learned_until import LEARNED_UNTIL
from services.trainer.adapters.packages import package_behind
from services.trainer.core.calibration import Calibration
from services.trainer.core.constraints import without_times
from services.trainer.core.fairness import ColumnFairness
from services.trainer.core.jobs import Trial
from services.trainer.core.parents import Comparison
from services.trainer.core.privacy import PrivacySpent
from services.trainer.core.robustness import RobustnessReport
from services.trainer.core.scores import Scores, SliceScores
from services.trainer.core.selection import TrialOutcome, beats_baseline
from services.trainer.core.spec import JobSpec, spec_to_json
from services.trainer.core.splits import Split, rows_digest
from services.trainer.core.tables import TWO_CLASSES

PACKAGES: Final = (
    "lightgbm",
    "numpy",
    "onnx",
    "onnxruntime",
    "onnxmltools",
    "opacus",
    "pandas",
    "pyarrow",
    "scikit-learn",
    "skl2onnx",
    "torch",
)
_REPOSITORY: Final = Path(__file__).resolve().parents[4]


@dataclass(frozen=True, slots=True)
class EncoderRecord:
    """A pretrained encoder, as it was.

    Attributes:
        name: That specs call it by.
        digest: SHA-256 of what it consists of.
        licence: As it tells.
    """

    name: str
    digest: str
    licence: str


@dataclass(frozen=True, eq=False)
class Evidence:
    """What is known about a version.

    Attributes:
        job: Training job, by resource name.
        spec: Of the job.
        snapshot_digest: Of the snapshot's manifest.
        split: Of its rows.
        trials: In the order of the candidates, failed ones included.
        winner: The trial that won.
        threads: Threads that training could keep busy.
        scores: On the test part.
        slices: Of the test part.
        baseline: What the labels that training saw score on the test part by themselves.
        encoder: Pretrained, that reads the text; None where there is none.
        calibration: Of the winner's scores; None where none is asked for.
        uncalibrated: On the test part without it; None without one.
        parity: Largest difference between graph and native model; None where there is none.
        validation_positive_rate: Share of positives of the part that the winner was picked on; None
            unless there are two classes.
        comparison: Beside the parent version; None where nothing was taken over from one.
        classes: Names by their numbers.
        learned_until_us: Event time of the newest row that it was trained on.
        fairness: What is decided for groups of the test part.
        robustness: What is lost on changed rows; None where nobody asked.
        privacy: What was spent on the rows; None where nobody asked.
    """

    job: str
    spec: JobSpec
    snapshot_digest: str
    split: Split
    trials: Sequence[Trial]
    winner: TrialOutcome
    threads: int
    scores: Scores
    slices: Sequence[SliceScores]
    baseline: Scores
    encoder: EncoderRecord | None
    calibration: Calibration | None
    uncalibrated: Scores | None
    parity: float | None
    validation_positive_rate: float | None
    comparison: Comparison | None = None
    classes: tuple[str, ...] = TWO_CLASSES
    learned_until_us: int | None = None
    fairness: tuple[ColumnFairness, ...] = ()
    robustness: RobustnessReport | None = None
    privacy: PrivacySpent | None = None

    @property
    def beats_baseline(self) -> bool:
        """Whether the version knows more than how labels are shared out."""
        return beats_baseline(self.scores.values, self.baseline.values, self.spec.task)


def evaluation_json(evidence: Evidence) -> dict[str, Any]:
    """`evaluation.json`."""
    before = evidence.uncalibrated
    return {
        "snapshot": evidence.spec.snapshot,
        "split": "test",
        "split_digest": rows_digest(evidence.split.test),
        "scores": scores_json(evidence.scores),
        "slices": [slice_json(found) for found in evidence.slices],
        "baseline": scores_json(evidence.baseline),
        **({} if before is None else {"uncalibrated": scores_json(before)}),
        "beats_baseline": evidence.beats_baseline,
        "validation": without_times(evidence.winner.metrics),
        "validation_gains": {name: asdict(gain) for name, gain in evidence.winner.gains.items()},
        **({} if evidence.parity is None else {"parity": {"largest_difference": evidence.parity}}),
        **_classes_json(evidence),
        **_fairness_json(evidence),
        **_robustness_json(evidence),
        **_privacy_json(evidence),
        **({} if evidence.comparison is None else {"parent": _parent_json(evidence.comparison)}),
    }


def _parent_json(found: Comparison) -> dict[str, Any]:
    return {
        "version": found.parent,
        "digest": found.parent_digest,
        "validation": dict(found.validation),
        "scores": scores_json(found.scores),
        "fidelity": found.fidelity.values,
        "batch_difference": found.batch_difference,
        "size_bytes": {"parent": found.parent_size_bytes, "version": found.size_bytes},
    }


def _privacy_json(evidence: Evidence) -> dict[str, Any]:
    return {} if evidence.privacy is None else {"privacy": evidence.privacy.to_json()}


def _classes_json(evidence: Evidence) -> dict[str, Any]:
    """Names of more than two classes, and rows of the test part by class and predicted class."""
    if not evidence.scores.confusion:
        return {}
    confusion = [list(counts) for counts in evidence.scores.confusion]
    return {"classes": list(evidence.classes), "confusion": confusion}


def _fairness_json(evidence: Evidence) -> dict[str, Any]:
    """Rates of groups of the test part and how far they are apart, with their intervals."""
    if not evidence.fairness:
        return {}
    columns = [asdict(found) for found in evidence.fairness]
    return {"fairness": {"threshold": evidence.spec.threshold, "columns": columns}}


def _robustness_json(evidence: Evidence) -> dict[str, Any]:
    """What changed rows of the validation part cost, and which features cost most."""
    found = evidence.robustness
    if found is None:
        return {}
    flips = found.flips
    checks = {
        check.value: {
            **worst.values,
            **({"flipped": flips[check].flipped} if flips else {}),
            "worst": [{"feature": each.feature, **each.values} for each in found.named(check)],
        }
        for check, worst in found.falls.items()
    }
    about = {"metric": evidence.spec.metric, "rows": found.rows, "noise": found.noise}
    order = {"order_difference": found.order_difference}
    return {"robustness": {**about, **order, "checks": checks}}


def training_json(evidence: Evidence) -> dict[str, Any]:
    """`training.json`: all that it takes to train the same version again."""
    split, calibration = evidence.split, evidence.calibration
    return {
        "training_job": evidence.job,
        "spec": spec_to_json(evidence.spec),
        "seed": evidence.spec.seed,
        LEARNED_UNTIL: evidence.learned_until_us,
        "snapshots": [{"name": evidence.spec.snapshot, "digest": evidence.snapshot_digest}],
        "split": {
            "digest": split.digest,
            "rows": "split.parquet",
            "train_rows": len(split.train),
            "validation_rows": len(split.validation),
            "test_rows": len(split.test),
        },
        "trials": [
            {
                "algorithm": trial.algorithm,
                "state": trial.state.value,
                "parameters": dict(trial.parameters),
                "metrics": without_times(trial.metrics),
                "folds": [
                    {"learn_rows": fold.learn_rows, "rows": fold.rows, **fold.metrics}
                    for fold in trial.folds
                ],
                "message": trial.message,
            }
            for trial in evidence.trials
        ],
        "winner": {
            "algorithm": evidence.winner.algorithm,
            "parameters": dict(evidence.winner.refit_parameters),
            "package": package_behind(evidence.winner.algorithm),
        },
        **({} if calibration is None else {"calibration": calibration.to_json()}),
        **_privacy_json(evidence),
        **surroundings(evidence.threads, evidence.encoder),
    }


def surroundings(threads: int, encoder: EncoderRecord | None) -> dict[str, Any]:
    """What of `training.json` is the same for all jobs on one machine with one encoder."""
    return {
        **({} if encoder is None else {"encoder": asdict(encoder)}),
        "environment": environment(threads),
        "code_commit": code_commit(_REPOSITORY),
    }


def environment(threads: int) -> dict[str, Any]:
    """The machine and the packages that training depends on."""
    return {
        "python": platform.python_version(),
        "platform": f"{platform.system()}-{platform.machine()}",
        "threads": threads,
        "packages": {name: version(name) for name in PACKAGES},
    }


def code_commit(repository: Path) -> str | None:
    """The commit that is checked out, or None outside of a git checkout."""
    git = repository / ".git"
    try:
        head = (git / "HEAD").read_text().strip()
        if not head.startswith("ref: "):
            return head
        reference = head.removeprefix("ref: ")
        loose = git / reference
        if loose.is_file():
            return loose.read_text().strip()
        packed = (git / "packed-refs").read_text().splitlines()
    except OSError:
        return None
    return next((line.split()[0] for line in packed if line.endswith(f" {reference}")), None)
