"""Films: what each frame takes over from the one before it."""
