"""What is near: pictures of a folder by the features that a network has of them."""
