"""One file per algorithm; a file here with a `RECIPE` is a candidate that jobs can name.

The recipes import their learning libraries inside `fit`: the service reads the rules of all of
them and must not carry torch and scikit-learn in its memory for that.
"""

from __future__ import annotations

import pkgutil
from importlib import import_module

from services.trainer.adapters.learning.recipe import Recipe


def load_recipes() -> dict[str, Recipe]:
    """Every recipe in this folder, by algorithm."""
    modules = (
        import_module(f"{__name__}.{found.name}") for found in pkgutil.iter_modules(__path__)
    )
    recipes: list[Recipe] = [module.RECIPE for module in modules]
    return {recipe.algorithm: recipe for recipe in recipes}
