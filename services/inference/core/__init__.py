"""The domain of serving: routing, request checking, decisions, endpoints and rollouts. No I/O."""
