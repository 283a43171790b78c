"""`python -m services.registry` runs the registry until SIGTERM or SIGINT.

`python -m services.registry rebuild` restores its metadata from the blob store instead.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from dataclasses import asdict

from services.common.allocation import keep_freed_memory
from services.common.blobs.errors import UnsafeStoreError
from services.common.errors import ServiceError
from services.common.rpc.process import run_service
from services.common.settings import load_settings
from services.common.telemetry import telemetry
from services.registry.adapters.records.rebuilding import DatabaseNotEmpty, RebuildReport
from services.registry.settings import RegistrySettings
from services.registry.wiring import rebuild_metadata, registry


def main() -> None:
    """Run the registry, or rebuild its metadata, with the settings of the environment."""
    arguments = _arguments()
    if arguments.command == "rebuild":
        sys.exit(_rebuild(arguments))
    settings = load_settings(RegistrySettings)
    keep_freed_memory()
    with telemetry("registry", settings):
        run_service(_serve(settings))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="roundhouse-registry", description=main.__doc__)
    commands = parser.add_subparsers(dest="command")
    rebuild = commands.add_parser(
        "rebuild",
        help="fill an empty database from the records in the blob store",
        description="Fill an empty database from the records in the blob store. Ends with 1 if "
        "something could not be restored, with 2 if the database isn't empty.",
    )
    rebuild.add_argument("--blobs", metavar="URL", help="file://FOLDER or s3://BUCKET/PREFIX")
    rebuild.add_argument(
        "--database", metavar="URL", help="sqlite:///PATH or postgresql+psycopg://"
    )
    rebuild.add_argument("--json", action="store_true", help="print JSON for programs")
    return parser.parse_args()


def _rebuild(arguments: argparse.Namespace) -> int:
    urls = {"blob_url": arguments.blobs, "database_url": arguments.database}
    settings = load_settings(RegistrySettings, **{name: url for name, url in urls.items() if url})
    try:
        report = asyncio.run(rebuild_metadata(settings))
    except (DatabaseNotEmpty, UnsafeStoreError, ServiceError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    sys.stdout.write(json.dumps(asdict(report)) + "\n" if arguments.json else _table(report))
    return 1 if report.lost else 0


def _table(report: RebuildReport) -> str:
    lines = [f"{report.transactions} transactions restored:"]
    lines += [f"  {count:>8}  {table}" for table, count in report.restored.items()]
    for version in report.open_uploads:
        lines.append(f"Open upload {version}: its files must be sent again.")
    lines += [f"NOT RESTORED: {fault}." for fault in report.lost]
    lines.append(
        "Not kept by design: leases, webhooks with their secrets, and the files of open uploads."
    )
    return "\n".join(lines) + "\n"


async def _serve(settings: RegistrySettings) -> None:
    async with registry(settings) as server:
        await server.serve_forever()


if __name__ == "__main__":
    main()
