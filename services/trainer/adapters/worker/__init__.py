"""The process that runs one attempt at a job."""
