"""Resources to and from their protos."""
