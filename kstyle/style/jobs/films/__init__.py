"""Films: taken apart into frames, painted frame after frame, and joined again."""
