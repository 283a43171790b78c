"""Delivers a service's events to subscribers over HTTP: in order, at least once."""
