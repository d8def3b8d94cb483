"""What a training makes smaller and what it measures beside it."""
