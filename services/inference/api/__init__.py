"""gRPC servicers and converters: convert, call the core, convert."""
