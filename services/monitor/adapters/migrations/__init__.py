"""Alembic revisions of the monitor's tables."""
