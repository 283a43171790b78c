"""Alembic revisions of the service's tables."""
