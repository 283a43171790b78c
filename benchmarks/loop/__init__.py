"""The loop: serving beside Triton, ingestion beside the disk, and the time to recover."""
