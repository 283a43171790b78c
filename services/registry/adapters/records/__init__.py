"""What the metadata database holds, kept in the blob store and read back from there."""
