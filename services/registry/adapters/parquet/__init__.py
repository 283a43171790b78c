"""Snapshots' files through Arrow: parsed, cleaned, reported on, written."""
