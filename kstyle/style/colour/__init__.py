"""Whose colours the result has."""
