"""Predictions and outcomes as they come in, joined and counted per window."""
