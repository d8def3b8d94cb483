"""What is kept of a painting under way, so that it goes on after whatever stops it. No framework is needed."""
