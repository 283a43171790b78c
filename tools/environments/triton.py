"""Gathers the server and its python backend, which the wheel scatters, in the folder it is given.

Run by `tools/isolated_env.py` with the environment's own Python.
"""

from __future__ import annotations

import sys
import sysconfig
from pathlib import Path

PYTHON_VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"


def lay_out(folder: Path) -> None:
    """Make `tritonserver`, `backends` and `caches` in `folder`; does no harm when repeated."""
    server = Path(sysconfig.get_path("purelib")).resolve() / "pytriton/tritonserver"
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


if __name__ == "__main__":
    lay_out(Path(sys.argv[1]))
