"""What the history of a training calls what it measures. No framework is needed."""

# The loss of recipes that name no other.
CROSS_ENTROPY = "cross_entropy"
# What is in the history anyway.
TAKEN = ("epoch", "loss", "accuracy", "learning_rate", "seconds", "images_per_second")
# In names of what is better the less it is.
_FALLING = ("loss", "error", "entropy", "divergence", "hinge", "poisson", "distance", "false_")


def direction(column):
    """Which way a column of the history is better, by its name: `"min"` of losses, errors and distances, else `"max"`.

    >>> direction("val_loss"), direction("val_auc"), direction("mean_squared_error")
    ('min', 'max', 'min')
    """
    return "min" if any(word in column for word in _FALLING) else "max"
