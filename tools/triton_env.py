"""Installs a Triton server, without Docker, into a virtual environment of its own.

`python tools/triton_env.py --dir .triton` takes half a minute; run again, it does nothing
until triton-requirements.txt changes.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import subprocess
import sys
import venv
from pathlib import Path

REQUIREMENTS = Path(__file__).with_name("triton-requirements.txt")
PYTHON_VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"


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
        _lay_out_backend(folder)
        stamp.write_text(wanted)


def _lay_out_backend(folder: Path) -> None:
    """Gather the python backend, which the wheel scatters, under `folder/backends`."""
    wheel = (folder / "venv/lib" / f"python{PYTHON_VERSION}" / "site-packages/pytriton").resolve()
    server = wheel / "tritonserver"
    stub = server / "python_backend_stubs" / PYTHON_VERSION / "triton_python_backend_stub"
    binary = server / "bin/tritonserver"
    for executable in (stub, binary):
        executable.chmod(0o755)
    backend = folder / "backends/python"
    backend.mkdir(parents=True, exist_ok=True)
    # Links, not copies: the stub looks for its libraries beside the file it is.
    for source in (
        server / "backends/python/libtriton_python.so",
        server / "backends/python/triton_python_backend_utils.py",
        stub,
    ):
        _link(backend / source.name, source)
    _link(folder / "tritonserver", binary)
    _link(folder / "caches", server / "caches")


def _link(link: Path, target: Path) -> None:
    link.unlink(missing_ok=True)
    link.symlink_to(target)


def main() -> None:
    """Install into the folder named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dir", type=Path, default=Path(".triton"), help="default: .triton")
    install(parser.parse_args().dir)


if __name__ == "__main__":
    main()
