"""Folders filled from lists of addresses."""
