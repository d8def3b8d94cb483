"""The commands that train, one a file."""
