"""Below every service: errors, names, settings, telemetry, storage and the gRPC kit."""
