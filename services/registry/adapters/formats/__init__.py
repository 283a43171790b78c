"""Which files only read when they are loaded, and which may run code: examined by content."""
