"""Films as files: taken apart into pictures, and made of pictures."""
