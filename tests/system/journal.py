"""Results of a long proof, kept as they come: one that was stopped goes on where it was."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any


class Journal:
    """One line of JSON for each piece of work that is done. One process writes it.

    Args:
        path: Made, with its folder, if it is not there.
        basis: What the results depend on, such as a digest of the code; a journal that was begun
            on another basis is begun anew.
    """

    def __init__(self, path: Path, basis: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        self._results = _read(path, basis)
        # Written anew, so that half a line of a process that was killed is gone.
        content = [{"basis": basis}, *({"of": of, "is": it} for of, it in self._results.items())]
        written = path.with_suffix(".new")
        written.write_text("".join(f"{json.dumps(line)}\n" for line in content))
        written.rename(path)

    def __contains__(self, key: str) -> bool:
        return key in self._results

    def __getitem__(self, key: str) -> Any:  # Any: what was put
        return self._results[key]

    def put(self, key: str, result: object) -> None:
        """Keep the result, which JSON can hold."""
        with self._path.open("a") as file:
            file.write(f"{json.dumps({'of': key, 'is': result})}\n")
        self._results[key] = result


def digest_of(files: Iterable[Path]) -> str:
    """SHA-256 of what files hold, in the order of their paths."""
    digest = hashlib.sha256()
    for path in sorted(files):
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def _read(path: Path, basis: str) -> dict[str, Any]:
    if not path.exists():
        return {}
    lines = path.read_text().splitlines()
    if not lines or lines[0] != json.dumps({"basis": basis}):
        return {}
    found = {}
    for line in lines[1:]:
        try:
            entry = json.loads(line)
        except json.JSONDecodeError:
            break
        found[entry["of"]] = entry["is"]
    return found
