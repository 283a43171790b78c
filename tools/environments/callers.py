"""Puts h2load into the folder it is given: this machine's own, or Debian's beside the system.

Run by `tools/isolated_env.py`.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from debian import unpack, write_launcher

_LAUNCHER = """#!/bin/sh
# The packages' own libraries go before the system's, which has the rest.
root={root}
export LD_LIBRARY_PATH="$root/usr/lib/x86_64-linux-gnu"
exec "$root/usr/bin/h2load" "$@"
"""


def lay_out(folder: Path) -> None:
    """Make `folder/h2load` run it."""
    launcher = folder / "h2load"
    launcher.unlink(missing_ok=True)
    own = shutil.which("h2load")
    if own is not None:
        launcher.symlink_to(own)
        return
    write_launcher(launcher, _LAUNCHER.format(root=unpack("nghttp2-client", folder)))


if __name__ == "__main__":
    lay_out(Path(sys.argv[1]).resolve())
