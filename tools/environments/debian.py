"""Puts a Debian package beside the system: for the scripts of recipes that need one.

Nothing is installed into the system and no root is needed: apt fetches the packages that the
system lacks, and verifies them, and they are unpacked into a folder. Debian keeps only the
newest version of each, so none can be pinned.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

_APT = ("apt-get", "--quiet", "--quiet")


def unpack(package: str, folder: Path) -> Path:
    """The new `folder/root`, with all of `package` that the system lacks; exits if that fails."""
    if shutil.which("apt-get") is None:
        sys.exit(f"There is no apt-get to fetch {package} with: install it, then run this again.")
    packages, root = folder / "packages", folder / "root"
    for each in (packages, root):
        shutil.rmtree(each, ignore_errors=True)
        each.mkdir()
    try:
        _download(package, packages)
    except subprocess.CalledProcessError:
        # The lists may be missing, or older than what the mirror still has.
        if os.geteuid() != 0:
            sys.exit(f"apt can't fetch {package}: run `sudo apt-get update`, then this again.")
        subprocess.run([*_APT, "update"], check=True)
        _download(package, packages)
    for each in sorted(packages.glob("*.deb")):
        subprocess.run(["dpkg-deb", "--extract", each, root], check=True)
    shutil.rmtree(packages)
    return root


def write_launcher(launcher: Path, script: str) -> None:
    """Make `launcher` an executable that is `script`."""
    launcher.write_text(script)
    launcher.chmod(0o755)


def _download(package: str, into: Path) -> None:
    """Fetch the package and what it needs that the system lacks."""
    simulation = subprocess.run(
        ["apt-get", "install", "--simulate", "--no-install-recommends", package],
        check=True,
        capture_output=True,
        text=True,
    )
    steps = (line.split() for line in simulation.stdout.splitlines())
    missing = [step[1] for step in steps if step and step[0] == "Inst"]
    subprocess.run(
        [*_APT, "--option", "APT::Sandbox::User=root", "download", *missing],
        check=True,
        cwd=into,
    )
