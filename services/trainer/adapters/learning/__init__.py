"""From the bytes of a snapshot to a fitted model, in the worker's process."""
