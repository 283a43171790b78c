"""Bytes under keys: one port, and adapters for memory, a directory and any S3."""
