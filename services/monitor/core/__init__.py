"""The monitor's domain: drift, quality, decisions, and the loop that follows from them."""
