"""Photographs in folders, lists and tables."""
