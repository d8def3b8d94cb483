"""What a training makes smaller and what it measures beside it: losses and metrics of classifiers, and names for them.

They are of logits, (B, K), and shares of classes, (B, K), and work in `kstyle.train(…, loss=…)` and in `Model.compile`.

>>> import keras
>>> from kstyle import aims
>>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
>>> model.compile(loss=aims.Focal(gamma=1.5), metrics=["accuracy"])
>>> aims.register_loss("mild-focal", lambda labels, logits: aims.Focal(1.0)(keras.ops.one_hot(labels, 3), logits))
"""

from kstyle.nn.aims.losses import Binary, Focal, Ordinal
from kstyle.nn.aims.losses import register as register_loss
from kstyle.nn.aims.metrics import register as register_metric

__all__ = ["Binary", "Focal", "Ordinal", "register_loss", "register_metric"]
