"""The monitor's services over gRPC."""
