"""Objectives, their error budgets, and how fast these burn."""
