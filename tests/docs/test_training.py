"""docs/training.md says what the recipes take."""

from __future__ import annotations

from pathlib import Path

from services.trainer.adapters.recipes import load_recipes

DOCUMENT = Path(__file__).parents[2] / "docs" / "training.md"


def test_the_table_of_parameters_is_that_of_the_recipes() -> None:
    said = {line for line in DOCUMENT.read_text().splitlines() if line.startswith("| `")}
    assert said == {
        f"| `{algorithm}` | `{name}` | {rule.default:g} | {rule.minimum:g} | {rule.maximum:g} |"
        for algorithm, recipe in load_recipes().items()
        for name, rule in recipe.rules.items()
    }
