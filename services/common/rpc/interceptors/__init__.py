"""What happens around every call of a server, whatever its arity."""
