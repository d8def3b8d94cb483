"""Style networks: what paints in one pass what was learned once."""
