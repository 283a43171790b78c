"""What a worker's processes may take of the machine."""

from __future__ import annotations

import resource


def limit_memory(mib: int) -> None:
    """Let this process and its children allocate so much each; 0 means no limit."""
    if mib:
        # Not the address space: a learning library reserves far more of it than it ever uses.
        resource.setrlimit(resource.RLIMIT_DATA, (mib * 2**20, mib * 2**20))
