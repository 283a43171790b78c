"""An episode's way round the loop: from a retrain decision to a version in service, or not."""
