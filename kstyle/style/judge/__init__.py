"""How good a painting is: measures of content and style."""
