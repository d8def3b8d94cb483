"""The commands that paint, one a file."""
