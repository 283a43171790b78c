"""The demo: one model's whole life on a year of real flights."""
