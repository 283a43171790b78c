"""The registry: bytes beside S3 itself, metadata beside MLflow, and both as versions pile up."""
