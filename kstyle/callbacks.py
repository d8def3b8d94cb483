"""Callbacks that work in `kstyle.train` and in `keras.Model.fit` alike. Keras' own work in both too.

>>> from kstyle import callbacks
>>> average = callbacks.WeightAverage(0.99)  # for kstyle.train(…, callbacks=[average])
>>> average.decay
0.99
"""

from kstyle.nn.callbacks import EpochFunction
from kstyle.training.loop.callbacks import TensorBoard, WeightAverage

__all__ = ["EpochFunction", "TensorBoard", "WeightAverage"]
