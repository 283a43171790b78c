"""The algorithms that jobs can name: one file each here, and those of installed packages.

Both are found by the same door, the entry points of `roundhouse.recipes`. The recipes here import
their learning libraries inside `fit`: the service reads the rules of all of them and must not
carry torch and scikit-learn in its memory for that.
"""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points
from typing import Final

from services.trainer.adapters.learning.recipe import Recipe

GROUP: Final = "roundhouse.recipes"


class UnusableRecipe(RuntimeError):
    """An installed recipe can't be used; its text says which and why."""


def load_recipes() -> dict[str, Recipe]:
    """Every recipe that is installed, by algorithm.

    Raises:
        UnusableRecipe: One can't be imported, is no recipe, or bears another's name.
    """
    recipes: dict[str, Recipe] = {}
    for point in _installed():
        if point.name in recipes:
            raise UnusableRecipe(
                f"two packages bring a recipe called {point.name!r}: {_all(point)}"
            )
        recipes[point.name] = _loaded(point)
    if not recipes:
        raise UnusableRecipe(f"no package has an entry point in {GROUP}: install roundhouse again")
    return recipes


def package_of(algorithm: str) -> str:
    """The installed package and its version that bring a recipe, such as `roundhouse 0.1.0`."""
    (point,) = entry_points(group=GROUP, name=algorithm)
    return _package(point)


def _installed() -> list[EntryPoint]:
    return sorted(entry_points(group=GROUP), key=lambda point: point.name)


def _loaded(point: EntryPoint) -> Recipe:
    who = f"recipe {point.name!r} of {_package(point)}"
    try:
        recipe = point.load()
    except Exception as error:  # whatever a stranger's import raises
        raise UnusableRecipe(f"{who} can't be imported: {error}") from error
    if not isinstance(recipe, Recipe):
        raise UnusableRecipe(f"{who} is a {type(recipe).__name__}; it must be a Recipe")
    if recipe.algorithm != point.name:
        raise UnusableRecipe(f"{who} calls itself {recipe.algorithm!r}; both must be one name")
    return recipe


def _all(point: EntryPoint) -> str:
    return ", ".join(sorted(_package(each) for each in _installed() if each.name == point.name))


def _package(point: EntryPoint) -> str:
    return "an unknown package" if point.dist is None else f"{point.dist.name} {point.dist.version}"
