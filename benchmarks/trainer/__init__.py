"""The trainer: what a job costs beside a bare script, and how much of it there may be."""
