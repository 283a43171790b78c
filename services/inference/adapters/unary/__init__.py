"""Unary gRPC calls at a fraction of what grpc.aio's client costs (docs/decisions/0075)."""
