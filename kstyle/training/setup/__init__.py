"""From a recipe to everything a training needs."""
