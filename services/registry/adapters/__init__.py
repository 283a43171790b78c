"""What the registry's ports talk to: the database, the blob store, Arrow."""
