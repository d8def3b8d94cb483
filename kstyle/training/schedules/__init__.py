"""Learning rates over a training, as recipes and users say them."""
