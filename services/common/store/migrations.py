"""Brings a database to the newest schema at start-up.

The common tables and each service's own are two Alembic branches, so that neither
needs to know of the other's history.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection

from services.common.store.database import Database

_ENVIRONMENT: Final = Path(__file__).with_name("alembic")


async def migrate(database: Database, versions: Path) -> None:
    """Apply what is missing, in one transaction; nothing if the schema is current.

    Args:
        database: The service's database.
        versions: Folder of the service's Alembic revisions.
    """

    def upgrade(connection: Connection) -> None:
        config = Config()
        config.set_main_option("script_location", str(_ENVIRONMENT))
        config.set_main_option("version_locations", f"{_ENVIRONMENT / 'versions'}\n{versions}")
        config.set_main_option("path_separator", "newline")
        config.attributes["connection"] = connection
        command.upgrade(config, "heads")

    await database.write(upgrade)
