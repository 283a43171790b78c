"""Puts Prometheus and Alertmanager into the folder it is given: this machine's own, or Debian's.

Run by `tools/isolated_env.py`.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from debian import unpack, write_launcher

_PROGRAMS = {
    "prometheus": ("prometheus", "promtool"),
    "prometheus-alertmanager": ("prometheus-alertmanager", "amtool"),
}
_FILES = b"/usr/share/prometheus/alertmanager"
_HERE = b"./" * (len(_FILES) // 2)
_LAUNCHER = """#!/bin/sh
# Alertmanager reads files of its package by a path that is built in; in this copy, it is one of
# the same length that leads to where it is started.
cd {root}/usr/share/prometheus/alertmanager && exec {root}/usr/bin/prometheus-alertmanager "$@"
"""


def lay_out(folder: Path) -> None:
    """Make each of the programs start from `folder`."""
    for package, programs in _PROGRAMS.items():
        own = {program: shutil.which(program) for program in programs}
        if not all(own.values()):
            beside = folder / "packages" / package
            beside.mkdir(parents=True, exist_ok=True)
            unpacked = unpack(package, beside) / "usr/bin"
            own = {program: str(unpacked / program) for program in programs}
        for program, path in own.items():
            (folder / program).unlink(missing_ok=True)
            (folder / program).symlink_to(str(path))
    copy = folder / "packages/prometheus-alertmanager/root"
    if copy.exists():
        _relocate(copy, folder / "prometheus-alertmanager")


def _relocate(root: Path, launcher: Path) -> None:
    binary = root / "usr/bin/prometheus-alertmanager"
    binary.write_bytes(binary.read_bytes().replace(_FILES, _HERE))
    launcher.unlink()
    write_launcher(launcher, _LAUNCHER.format(root=root))


if __name__ == "__main__":
    lay_out(Path(sys.argv[1]).resolve())
