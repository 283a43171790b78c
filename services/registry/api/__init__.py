"""The registry over gRPC: convert, call the core, convert."""
