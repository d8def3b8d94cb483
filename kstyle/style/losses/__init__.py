"""Content, style and total-variation losses, as published."""
