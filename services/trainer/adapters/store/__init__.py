"""The trainer's rows in SQLite or PostgreSQL."""
