"""Rows, transactions, migrations, the event outbox, request ids and leases."""
