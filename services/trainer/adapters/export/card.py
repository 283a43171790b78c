"""`card.md`: a version for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from services.trainer.adapters.export.card_tables import table
from services.trainer.adapters.export.documents import Evidence
from services.trainer.adapters.export.fairness_card import fairness_section
from services.trainer.adapters.export.robustness_card import robustness_section
from services.trainer.core.cross_validation import means, spreads
from services.trainer.core.jobs import Trial
from services.trainer.core.parents import Mode
from services.trainer.core.scores import Scores
from services.trainer.core.spec import JobSpec
from services.trainer.core.splits import SplitMethod
from services.trainer.core.tasks import Task

_PARTED: Final = {
    SplitMethod.TIME: "by time, the latest rows for the test",
    SplitMethod.RANDOM: "by chance",
    SplitMethod.STRATIFIED: "by chance, each label alike",
    SplitMethod.GROUPED: "by chance, whole groups at a time",
}
_TAKEN_OVER: Final = {
    Mode.DISTILLATION: "learning what it tells",
    Mode.QUANTIZATION: "turning its weights into 8-bit integers",
    Mode.WARM_START: "training it further",
    Mode.PRUNING: "leaving out what counts least",
    Mode.INCREMENTAL: "training it further on newer rows alone",
}
_TITLES: Final = {
    "positive_rate": "positive",
    "auc": "AUC",
    "log_loss": "log loss",
    "calibration_error": "calibration error",
    "macro_f1": "macro F1",
    "balanced_accuracy": "balanced accuracy",
    "worst_recall": "worst recall",
    "rmse": "RMSE",
    "mae": "MAE",
    "r2": "R²",
    "median_absolute_error": "median absolute error",
}


def card(evidence: Evidence) -> str:
    """How the version was made and how good it is."""
    spec = evidence.spec
    slices = [
        (f"{found.column} = {found.value or '(missing)'}", found.scores)
        for found in evidence.slices
    ]
    lines = [
        f"# {spec.model.rpartition('/')[2]}",
        "",
        f"Predicts `{spec.target}` from {len(spec.features)} features.",
        f"Trained by `{evidence.job}` on `{spec.snapshot}`, split {_PARTED[spec.split_method]}.",
        f"The test part has {evidence.scores.rows} rows and was scored once.",
        "",
        f"- Algorithm: {evidence.winner.algorithm}, picked by {_picked_by(spec)}",
        *([] if spec.constraints is None else [f"- Has a {spec.constraints}, as was asked"]),
        *_encoder(evidence),
        *([f"- Probabilities: {_calibrated(evidence)}"] if evidence.classes else []),
        f"- Beats the trivial baseline: {'yes' if evidence.beats_baseline else 'no'}",
        "",
        *_privacy(evidence),
        *_scored("part", _parts(evidence), spec.task),
        "",
        *_by_class(evidence),
        *_beside_parent(evidence),
        "## Slices of the test part",
        "",
        *_scored("slice", slices, spec.task),
        "",
        *fairness_section(evidence),
        *robustness_section(evidence),
        "## Candidates on the validation part",
        "",
        *table(
            ["algorithm", *_titles(spec.task.meaning.metrics), f"{spec.metric} over folds"],
            [_candidate(trial, spec) for trial in evidence.trials],
        ),
        "",
    ]
    return "\n".join(lines)


def _privacy(evidence: Evidence) -> list[str]:
    """What the version promises of each row, and what it doesn't."""
    spent = evidence.privacy
    if spent is None:
        return []
    return [
        "## Privacy",
        "",
        (
            f"The weights are ({spent.epsilon:.4g}, {spent.delta:.3g})-differentially private for "
            f"each row: DP-SGD with noise {spent.noise_multiplier:.4g}, gradients clipped to "
            f"{spent.max_grad_norm:.4g}, {spent.steps} steps in two fits of {spent.epochs} epochs, "
            f"counted together by the accountant `{spent.accountant}`."
        ),
        "",
        (
            "This does not cover the medians, scales and categories in the graph and in "
            "`weights.safetensors`, nor `signature.json`, `profile.json`, `data.json`, and all "
            "scores here: they are computed from the rows without noise. And whoever knows the "
            "seed, which `training.json` has, can draw the noise again: keep it from those whom "
            "the promise is to hold against."
        ),
        "",
    ]


def _encoder(evidence: Evidence) -> list[str]:
    found = evidence.encoder
    if found is None:
        return []
    named = f"`{found.name}`, `{found.digest}`; its licence: {found.licence}"
    return [f"- Text is read by the pretrained encoder {named}"]


def _scored(title: str, rows: Sequence[tuple[str, Scores]], task: Task) -> list[str]:
    told = task.meaning.card
    return table(
        [title, "rows", *_titles(told)],
        [
            [name, str(scores.rows), *(_number(scores.metrics, metric) for metric in told)]
            for name, scores in rows
        ],
    )


def _by_class(evidence: Evidence) -> list[str]:
    """Precision, recall and F1 of each class, and its row of the confusion."""
    if not evidence.scores.confusion:
        return []
    measures = ("precision", "recall", "f1")
    rows = [
        [
            name,
            str(sum(counts)),
            *(_number(evidence.scores.by_class, f"{each}.{name}") for each in measures),
            *map(str, counts),
        ]
        for name, counts in zip(evidence.classes, evidence.scores.confusion, strict=True)
    ]
    head = ["class", "rows", *measures, *(f"told {name}" for name in evidence.classes)]
    return ["## Classes of the test part", "", *table(head, rows), ""]


def _beside_parent(evidence: Evidence) -> list[str]:
    found = evidence.comparison
    if found is None:
        return []
    parts = [("this version", evidence.scores), ("parent", found.scores)]
    return [
        "## Beside its parent",
        "",
        (
            f"Made from `{found.parent}` by {_TAKEN_OVER[evidence.spec.mode]}. Beside it: "
            f"{found.fidelity}. Its graph has {found.size_bytes} bytes, the parent's "
            f"{found.parent_size_bytes}."
        ),
        "",
        *_scored("test part", parts, evidence.spec.task),
        "",
    ]


def _candidate(trial: Trial, spec: JobSpec) -> list[str]:
    metrics = spec.task.meaning.metrics
    if not trial.metrics:
        return [trial.algorithm, trial.message, *[""] * len(metrics)]
    folds = _number(means(trial.folds), spec.metric)
    if len(trial.folds) > 1:
        folds += f" ± {_number(spreads(trial.folds), spec.metric)}"
    return [trial.algorithm, *(_number(trial.metrics, metric) for metric in metrics), folds]


def _titles(metrics: Sequence[str]) -> list[str]:
    return [_TITLES.get(str(metric), str(metric)) for metric in metrics]


def _parts(evidence: Evidence) -> list[tuple[str, Scores]]:
    before = evidence.uncalibrated
    return [
        ("test", evidence.scores),
        *([] if before is None else [("test, before calibration", before)]),
        ("baseline", evidence.baseline),
    ]


def _calibrated(evidence: Evidence) -> str:
    calibration = evidence.calibration
    if calibration is not None:
        return f"{calibration.method.value}, learned from {calibration.rows} rows"
    if evidence.uncalibrated is not None:
        return "calibrated as those of the parent"
    return "as the algorithm gives them"


def _picked_by(spec: JobSpec) -> str:
    folds = spec.cross_validation_folds
    return f"mean {spec.metric} over {folds} folds" if folds else f"validation {spec.metric}"


def _number(values: Mapping[str, float], name: str) -> str:
    return f"{values[name]:.4f}" if name in values else "-"
