"""Pictures read, resized, written, with what their numbers mean. NumPy and Pillow, no framework."""
