"""What callers and the controller do to endpoints and rollouts, one transaction each."""
