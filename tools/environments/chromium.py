"""Puts a Chromium into the folder it is given: this machine's own, or Debian's beside the system.

Run by `tools/isolated_env.py`. Nothing is installed into the system and no root is needed: the
packages that the system lacks are fetched by apt, which verifies them, and unpacked into the
folder. Debian keeps only the newest version of a browser, so none can be pinned.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

_APT = ("apt-get", "--quiet", "--quiet")

_LAUNCHER = """#!/bin/sh
# The packages' own libraries go before the system's, which has the rest.
root={root}
export LD_LIBRARY_PATH="$root/usr/lib/x86_64-linux-gnu:$root/usr/lib/x86_64-linux-gnu/pulseaudio"
test -e /etc/fonts || export FONTCONFIG_SYSROOT="$root"
exec "$root/usr/lib/chromium/chromium" "$@"
"""


def lay_out(folder: Path) -> None:
    """Make `folder/chromium` start a browser."""
    launcher = folder / "chromium"
    launcher.unlink(missing_ok=True)
    own = shutil.which("chromium")
    if own is not None:
        launcher.symlink_to(own)
        return
    if shutil.which("apt-get") is None:
        sys.exit("There is no apt-get to fetch Chromium with: install Chromium, then run it again.")
    packages, root = folder / "packages", folder / "root"
    for each in (packages, root):
        shutil.rmtree(each, ignore_errors=True)
        each.mkdir()
    try:
        _download(packages)
    except subprocess.CalledProcessError:
        # The lists may be missing, or older than what the mirror still has.
        if os.geteuid() != 0:
            sys.exit("apt can't fetch Chromium: run `sudo apt-get update`, then this again.")
        subprocess.run([*_APT, "update"], check=True)
        _download(packages)
    for package in sorted(packages.glob("*.deb")):
        subprocess.run(["dpkg-deb", "--extract", package, root], check=True)
    shutil.rmtree(packages)
    launcher.write_text(_LAUNCHER.format(root=root))
    launcher.chmod(0o755)


def _download(into: Path) -> None:
    """Fetch Chromium and what it needs that the system lacks."""
    simulation = subprocess.run(
        ["apt-get", "install", "--simulate", "--no-install-recommends", "chromium"],
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


if __name__ == "__main__":
    lay_out(Path(sys.argv[1]).resolve())
