"""What `jobs show` says of a version beside the one that it was made from."""

from __future__ import annotations

from roundhouse.cli.views.beside_parent import beside_parent


def test_what_was_measured_of_both_is_told_and_nothing_else() -> None:
    metrics = {
        "fidelity.agreement": 0.984,
        "fidelity.mean_difference": 0.0123,
        "fidelity.largest_difference": 0.2,
        "auc": 0.74,
        "parent.auc": 0.75,
        "log_loss": 0.4,
        "latency.p95_ms": 0.05,
        "parent.latency.p95_ms": 0.2,
        "graph.size_bytes": 12_345.0,
        "parent.graph.size_bytes": 456_789.0,
    }
    assert list(beside_parent("projects/default/models/late/versions/3", metrics)) == [
        (
            "beside late/3: the same label in 98.4% of the test part, probabilities 0.0123 apart "
            "on average, 0.2000 at most"
        ),
        "  auc 0.7400 instead of 0.7500",
        "  latency.p95_ms 0.0500 ms instead of 0.2000 ms",
        "  graph.size_bytes 12,345 bytes instead of 456,789 bytes",
    ]
