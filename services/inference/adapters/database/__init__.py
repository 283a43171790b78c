"""Endpoints and rollouts as rows."""
