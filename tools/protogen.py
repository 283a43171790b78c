"""Generates Python modules and type stubs from `protos/` into `protos/gen/`.

Runs as a Hatch build hook on every install, and by hand, after a .proto file
changed, as `python tools/protogen.py`.
"""

from __future__ import annotations

import os
import shutil
import sysconfig
import tempfile
from importlib.metadata import distribution
from importlib.resources import files
from pathlib import Path

PROTOS = Path(__file__).resolve().parent.parent / "protos"
GEN = PROTOS / "gen"

# googleapis-common-protos ships these without stubs; mypy needs them.
UNTYPED = [
    "google/rpc/code.proto",
    "google/rpc/error_details.proto",
    "google/rpc/status.proto",
    "google/type/money.proto",
]


def generate(target: Path = GEN) -> None:
    """Replace everything under `target` with freshly generated code."""
    # protoc finds the stub plugins through PATH, also outside an activated environment.
    os.environ["PATH"] = os.pathsep.join(
        [sysconfig.get_path("scripts"), os.environ.get("PATH", "")]
    )
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".gen-") as folder:
        fresh = Path(folder) / "gen"
        fresh.mkdir()
        _protoc(_sources("roundhouse"), fresh, "python", "grpc_python", "mypy", "mypy_grpc")
        _protoc(_sources("buf"), fresh, "python", "mypy")
        _protoc(UNTYPED, fresh, "mypy")
        shutil.rmtree(target, ignore_errors=True)
        fresh.rename(target)


def _sources(folder: str) -> list[str]:
    return sorted(str(path.relative_to(PROTOS)) for path in (PROTOS / folder).rglob("*.proto"))


def _protoc(sources: list[str], target: Path, *plugins: str) -> None:
    from grpc_tools import protoc

    googleapis = distribution("googleapis-common-protos").locate_file("")
    includes = [PROTOS, googleapis, files("grpc_tools") / "_proto"]
    options = {"mypy": "quiet:", "mypy_grpc": "quiet:"}
    status = protoc.main(
        [
            "protoc",
            *(f"-I{include}" for include in includes),
            *(f"--{plugin}_out={options.get(plugin, '')}{target}" for plugin in plugins),
            *sources,
        ]
    )
    if status:
        raise SystemExit(f"protoc failed with status {status}; its message stands above")


try:
    from hatchling.builders.hooks.plugin.interface import BuildHookInterface
except ImportError:  # Run by hand, outside a build.
    pass
else:

    class ProtogenHook(BuildHookInterface):
        """Lets `pip install` produce the generated code."""

        def initialize(self, version: str, build_data: dict[str, object]) -> None:
            """Generate before hatchling collects the files."""
            generate()


if __name__ == "__main__":
    generate()
