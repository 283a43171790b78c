"""How data break, one file each; `registry.FAULTS` names them all. A fault is no drift."""
