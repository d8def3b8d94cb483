"""Image-classification training: what a recipe in configs/train says, carried out."""
