"""Everything that touches gRPC: server, interceptors, status mapping, client channels."""
