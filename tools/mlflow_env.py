"""Installs an MLflow server, for benchmarks, into a virtual environment of its own.

`python tools/mlflow_env.py --dir .mlflow` takes a minute; run again, it does nothing until
mlflow-requirements.txt changes.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import subprocess
import sys
import venv
from pathlib import Path

REQUIREMENTS = Path(__file__).with_name("mlflow-requirements.txt")


def install(folder: Path) -> None:
    """Make `folder` hold the pinned server; returns at once where it already does.

    Safe to run twice at the same time: the second call waits for the first.

    Raises:
        subprocess.CalledProcessError: pip failed; its output says why.
    """
    folder.mkdir(parents=True, exist_ok=True)
    stamp = folder / "installed.sha256"
    wanted = hashlib.sha256(REQUIREMENTS.read_bytes() + sys.version.encode()).hexdigest()
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if stamp.exists() and stamp.read_text() == wanted:
            return
        stamp.unlink(missing_ok=True)
        environment = folder / "venv"
        venv.create(environment, clear=True, with_pip=True)
        pip = [environment / "bin" / "python", "-m", "pip", "install", "--quiet", "--no-deps"]
        subprocess.run([*pip, "--requirement", REQUIREMENTS], check=True)
        stamp.write_text(wanted)


def main() -> None:
    """Install into the folder named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dir", type=Path, default=Path(".mlflow"), help="default: .mlflow")
    install(parser.parse_args().dir)


if __name__ == "__main__":
    main()
