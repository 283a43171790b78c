"""What is written about a version beside its graph: how it was made and how good it is."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from services.trainer.adapters.export.bundle import scores_json, slice_json
from services.trainer.adapters.recipes import package_of
from services.trainer.core.cross_validation import means, spreads
from services.trainer.core.jobs import Trial
from services.trainer.core.parents import Comparison, Mode
from services.trainer.core.scores import Scores, SliceScores
from services.trainer.core.selection import TrialOutcome, beats_baseline
from services.trainer.core.spec import JobSpec, spec_to_json
from services.trainer.core.splits import Split, SplitMethod, rows_digest

PACKAGES: Final = (
    "lightgbm",
    "numpy",
    "onnx",
    "onnxruntime",
    "onnxmltools",
    "pandas",
    "pyarrow",
    "scikit-learn",
    "skl2onnx",
    "torch",
)
_PARTED: Final = {
    SplitMethod.TIME: "by time, the latest rows for the test",
    SplitMethod.RANDOM: "by chance",
    SplitMethod.STRATIFIED: "by chance, each label alike",
    SplitMethod.GROUPED: "by chance, whole groups at a time",
}
_TAKEN_OVER: Final = {
    Mode.DISTILLATION: "learning its probabilities",
    Mode.QUANTIZATION: "turning its weights into 8-bit integers",
}
_REPOSITORY: Final = Path(__file__).resolve().parents[4]


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
        baseline: What the share of positives alone scores on the test part.
        parity: Largest difference between graph and native model; None where there is none.
        validation_positive_rate: Share of positives of the part that the winner was picked on.
        comparison: Beside the parent version; None where nothing was taken over from one.
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
    parity: float | None
    validation_positive_rate: float
    comparison: Comparison | None = None

    @property
    def beats_baseline(self) -> bool:
        """Whether the version knows more than the share of positives."""
        return beats_baseline(self.scores.values, self.baseline.values)


def evaluation_json(evidence: Evidence) -> dict[str, Any]:
    """`evaluation.json`."""
    return {
        "snapshot": evidence.spec.snapshot,
        "split": "test",
        "split_digest": rows_digest(evidence.split.test),
        "scores": scores_json(evidence.scores),
        "slices": [slice_json(found) for found in evidence.slices],
        "baseline": scores_json(evidence.baseline),
        "beats_baseline": evidence.beats_baseline,
        "validation": dict(evidence.winner.metrics),
        "validation_gains": {name: asdict(gain) for name, gain in evidence.winner.gains.items()},
        **({} if evidence.parity is None else {"parity": {"largest_difference": evidence.parity}}),
        **({} if evidence.comparison is None else {"parent": _parent_json(evidence.comparison)}),
    }


def _parent_json(found: Comparison) -> dict[str, Any]:
    return {
        "version": found.parent,
        "digest": found.parent_digest,
        "validation": dict(found.validation),
        "scores": scores_json(found.scores),
        "fidelity": asdict(found.fidelity),
        "batch_difference": found.batch_difference,
        "size_bytes": {"parent": found.parent_size_bytes, "version": found.size_bytes},
    }


def training_json(evidence: Evidence) -> dict[str, Any]:
    """`training.json`: all that it takes to train the same version again."""
    split = evidence.split
    return {
        "training_job": evidence.job,
        "spec": spec_to_json(evidence.spec),
        "seed": evidence.spec.seed,
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
                "metrics": dict(trial.metrics),
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
            "package": _package(evidence),
        },
        "environment": environment(evidence.threads),
        "code_commit": code_commit(_REPOSITORY),
    }


def _package(evidence: Evidence) -> str:
    if evidence.spec.mode is Mode.QUANTIZATION:
        return f"onnxruntime {version('onnxruntime')}"
    return package_of(evidence.winner.algorithm)


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


def card(evidence: Evidence) -> str:
    """`card.md`: the version for people."""
    spec = evidence.spec
    lines = [
        f"# {spec.model.rpartition('/')[2]}",
        "",
        f"Predicts `{spec.target}` from {len(spec.features)} features.",
        f"Trained by `{evidence.job}` on `{spec.snapshot}`, split {_PARTED[spec.split_method]}.",
        f"The test part has {evidence.scores.rows} rows and was scored once.",
        "",
        f"- Algorithm: {evidence.winner.algorithm}, picked by {_picked_by(spec)}",
        f"- Beats the share of positives: {'yes' if evidence.beats_baseline else 'no'}",
        "",
        *_table("part", [("test", evidence.scores), ("baseline", evidence.baseline)]),
        "",
        *_beside_parent(evidence),
        "## Slices of the test part",
        "",
        *_table(
            "slice",
            [
                (f"{found.column} = {found.value or '(missing)'}", found.scores)
                for found in evidence.slices
            ],
        ),
        "",
        "## Candidates on the validation part",
        "",
        f"| algorithm | AUC | log loss | {spec.metric} over folds |",
        "| --- | --- | --- | --- |",
        *(_candidate(trial, spec.metric) for trial in evidence.trials),
        "",
    ]
    return "\n".join(lines)


def _beside_parent(evidence: Evidence) -> list[str]:
    found = evidence.comparison
    if found is None:
        return []
    fidelity = found.fidelity
    return [
        "## Beside its parent",
        "",
        (
            f"Made from `{found.parent}` by {_TAKEN_OVER[evidence.spec.mode]}. Both give the same "
            f"label to {fidelity.agreement:.1%} of the test part; their probabilities differ by "
            f"{fidelity.mean_difference:.4f} on average, by {fidelity.largest_difference:.4f} at "
            f"most. Its graph has {found.size_bytes} bytes, the parent's {found.parent_size_bytes}."
        ),
        "",
        *_table("test part", [("this version", evidence.scores), ("parent", found.scores)]),
        "",
    ]


def _table(title: str, rows: Sequence[tuple[str, Scores]]) -> list[str]:
    head = [f"| {title} | rows | positive | AUC | log loss | calibration error |"]
    head.append("| --- | --- | --- | --- | --- | --- |")
    return head + [
        f"| {name} | {scores.rows} | {scores.positive_rate:.3f} | {_number(scores.values, 'auc')} "
        f"| {_number(scores.values, 'log_loss')} | {_number(scores.values, 'calibration_error')} |"
        for name, scores in rows
    ]


def _candidate(trial: Trial, metric: str) -> str:
    if not trial.metrics:
        return f"| {trial.algorithm} | {trial.message} | | |"
    numbers = f"{_number(trial.metrics, 'auc')} | {_number(trial.metrics, 'log_loss')}"
    folds = _number(means(trial.folds), metric)
    if len(trial.folds) > 1:
        folds += f" ± {_number(spreads(trial.folds), metric)}"
    return f"| {trial.algorithm} | {numbers} | {folds} |"


def _picked_by(spec: JobSpec) -> str:
    folds = spec.cross_validation_folds
    return f"mean {spec.metric} over {folds} folds" if folds else f"validation {spec.metric}"


def _number(values: Mapping[str, float], name: str) -> str:
    return f"{values[name]:.4f}" if name in values else "-"
