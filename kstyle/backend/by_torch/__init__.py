"""What only PyTorch does: files for other programs, and starting ranks."""
