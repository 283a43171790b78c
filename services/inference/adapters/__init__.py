"""What the core's ports talk to: bundles, model runtimes, the observation log, stores, peers."""
