"""Training snapshots of observations joined with their outcomes."""
