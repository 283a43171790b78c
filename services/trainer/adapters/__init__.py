"""What the trainer's ports talk to."""
