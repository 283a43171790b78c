"""The monitor's metadata on SQLite and PostgreSQL."""
