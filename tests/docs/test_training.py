"""docs/training.md says what the recipes take."""

from __future__ import annotations

from pathlib import Path

from services.trainer.adapters.recipes import load_recipes

DOCUMENT = Path(__file__).parents[2] / "docs" / "training.md"


def test_the_tables_of_parameters_are_those_of_the_recipes() -> None:
    said = {}
    for section in DOCUMENT.read_text().split("\n### ")[1:]:
        algorithm = section.split("`")[1]
        rows = section.partition("\n## ")[0].splitlines()
        said[algorithm] = [row for row in rows if row.startswith("| `")]
    assert said == {
        algorithm: [
            f"| `{name}` | {rule.default:g} | {rule.minimum:g} | {rule.maximum:g} "
            f"| {'yes' if rule.whole else 'no'} |"
            for name, rule in recipe.rules.items()
        ]
        for algorithm, recipe in load_recipes().items()
    }
