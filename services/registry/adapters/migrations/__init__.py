"""Alembic revisions of the registry's tables."""
