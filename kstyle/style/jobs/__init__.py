"""Many paintings: folders, films, grids of settings."""
