"""The registry's metadata on SQLite and PostgreSQL."""
