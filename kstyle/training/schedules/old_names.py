"""Names in recipes of before, and what they mean today: such a recipe trains as it always did.

The posts are those of docs/porting.md. `sgd` was torch's and `adamw` Adam with decoupled decay in a recipe, while both
were Keras' in a preset: Keras' own are `keras-sgd` and `keras-adamw` in a recipe.
"""

from collections.abc import Mapping

import yaml

SCHEDULES = {
    "post_mnist": {"name": "constant"},
    # junmo1215/practice; the 0.1 that the post's optimiser is built with is never used. 164 epochs.
    "post_cifar10": {"name": "values", "values": {0: 0.08, 81: 0.01, 122: 0.001}},
    # BIGBALLON's Vgg19_keras.py, on which that post builds. 200 epochs.
    "bigballon_cifar10": {"name": "values", "values": {0: 0.1, 80: 0.01, 160: 0.001}},
    "post_transfer": {"name": "step", "size": 7, "gamma": 0.1},
    # Not to be recommended: the rate is 1e-6 of the first at epoch 12, and nothing moves.
    "post_tiny_imagenet": {"name": "step", "size": 2, "gamma": 0.1, "passed": 1},
}
OPTIMIZERS = {"sgd": {"name": "torch-sgd"}, "adamw": {"name": "adam", "decay": "decoupled"}}
_FIXED = ("name", "decay")  # what such a name settles; the recipe may have changed the rest


def today(table, section):
    """A section of a recipe with today's name.

    Args:
        table: one of those above.
        section: what a recipe says: a mapping with a `name`, or anything else, which is returned as it is.

    Returns:
        `(section, note)`: what to write in its place, or None where the name is no old one.

    >>> today(SCHEDULES, {"name": "post_transfer", "warmup": 1})
    ({'name': 'step', 'size': 7, 'gamma': 0.1, 'warmup': 1}, "'post_transfer' is now {name: step, size: 7, gamma: 0.1}")
    """
    old = section.get("name") if isinstance(section, Mapping) else None
    if not isinstance(old, str) or old not in table:
        return section, None
    said = yaml.safe_dump(table[old], default_flow_style=True, sort_keys=False, width=1000).strip()
    more = {key: value for key, value in section.items() if key not in table[old] or key not in _FIXED}
    return {**table[old], **more}, f"'{old}' is now {said}"
