"""Style transfer: losses, the objective they add up to, optimisers, and the loop."""
