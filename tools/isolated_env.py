"""Installs what is pinned in tools/environments/NAME.txt into an environment of its own.

`python tools/isolated_env.py mlflow` makes `.environments/mlflow`; run again, it does nothing
until the file changes. After an installation that broke off it starts over, with what pip had
already fetched. To add one, write `NAME.txt` with every package that it needs, dependencies too,
each with its exact version; where that is not all, a `NAME.py` beside it does the rest: it is run
by the new environment's Python, with the folder as its argument.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import subprocess
import sys
import venv
from pathlib import Path

_RECIPES = Path(__file__).with_name("environments")
_HOME = Path(__file__).resolve().parents[1] / ".environments"


class InstallationFailed(Exception):
    """A command that installs ended with an error; it has said why on standard error."""


def install(requirements: Path, home: Path) -> None:
    """Make `home/NAME/venv` hold what is pinned; returns at once where it already does.

    `home/NAME/installed.sha256` is there only while the environment is whole. Safe to run twice
    at the same time: the second call waits for the first.

    Args:
        requirements: `NAME.txt`; a `NAME.py` beside it is run at the end.
        home: Where environments are kept.

    Raises:
        InstallationFailed: pip, or the recipe's own script, failed.
    """
    finish = requirements.with_suffix(".py")
    recipe = requirements.read_bytes() + (finish.read_bytes() if finish.exists() else b"")
    wanted = hashlib.sha256(recipe + sys.version.encode()).hexdigest()
    # The environment's commands name its Python by its path: not by that of a link to it.
    folder = home.resolve() / requirements.stem
    folder.mkdir(parents=True, exist_ok=True)
    stamp = folder / "installed.sha256"
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if stamp.exists() and stamp.read_text() == wanted:
            # make compares times: a checkout may have touched the recipe.
            stamp.touch()
            return
        stamp.unlink(missing_ok=True)
        print(f"Installing {requirements.stem} into {folder} ...", file=sys.stderr)
        # From nothing: pip takes a package that was copied half for installed.
        venv.create(folder / "venv", clear=True, with_pip=True)
        python = folder / "venv/bin/python"
        # Without dependencies: the file names them all, so that each installation is the same.
        pip = (python, "-m", "pip", "install", "--quiet", "--no-deps")
        _run(*pip, "--requirement", requirements)
        if finish.exists():
            _run(python, finish, folder)
        # Put in place whole: a torn stamp would only cost an installation, an early one a test.
        written = stamp.with_suffix(".new")
        written.write_text(wanted)
        written.rename(stamp)


def _run(*command: str | Path) -> None:
    done = subprocess.run(command, check=False)
    if done.returncode:
        raise InstallationFailed(f"`{' '.join(map(str, command))}` ended with {done.returncode}")


def main() -> None:
    """Install what the command line names."""
    names = sorted(path.stem for path in _RECIPES.glob("*.txt"))
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="+", choices=names, metavar="NAME", help=", ".join(names))
    parser.add_argument("--home", type=Path, default=_HOME, help="default: .environments")
    arguments = parser.parse_args()
    for name in arguments.names:
        try:
            install(_RECIPES / f"{name}.txt", arguments.home)
        except InstallationFailed as error:
            sys.exit(f"{name} is not installed: {error}; its output is above. Run it again.")


if __name__ == "__main__":
    main()
