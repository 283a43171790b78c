"""What the monitor's ports talk to."""
