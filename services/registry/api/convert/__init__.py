"""Domain values to and from proto messages."""
