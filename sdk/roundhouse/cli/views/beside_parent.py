"""A version beside the one that it was made from, in a few lines."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from roundhouse.cli import names


def beside_parent(parent: str, metrics: Mapping[str, float]) -> Iterator[str]:
    """What the metrics of a version's test say of it beside `parent`, a resource name."""
    told = "predictions"
    if "fidelity.agreement" in metrics:
        agreement = metrics["fidelity.agreement"]
        told = f"the same label in {agreement:.1%} of the test part, probabilities"
    yield (
        f"beside {names.short(parent)}: {told} {metrics['fidelity.mean_difference']:.4f} apart on "
        f"average, {metrics['fidelity.largest_difference']:.4f} at most"
    )
    for name, unit in (
        ("auc", ""),
        ("balanced_accuracy", ""),
        ("log_loss", ""),
        ("rmse", ""),
        ("mae", ""),
        ("latency.p50_ms", " ms"),
        ("latency.p95_ms", " ms"),
        ("graph.size_bytes", " bytes"),
    ):
        if {name, f"parent.{name}"} <= set(metrics):
            mine, theirs = metrics[name], metrics[f"parent.{name}"]
            shown = ",.0f" if name == "graph.size_bytes" else ".4f"
            yield f"  {name} {mine:{shown}}{unit} instead of {theirs:{shown}}{unit}"
