"""The monitor's dashboard: a page, what it shows as JSON, and what happens as it happens."""
