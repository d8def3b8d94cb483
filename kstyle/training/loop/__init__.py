"""Steps and epochs, and what happens around them."""
