"""What the registry does, as synchronous functions over one transaction.

Each function either changes everything it names or raises and changes nothing:
the caller's transaction rolls back.
"""
