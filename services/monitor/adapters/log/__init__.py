"""Predictions and outcomes in Delta Lake tables, on a directory or S3."""
