"""The trainer's RPCs: convert, call the core, convert."""
