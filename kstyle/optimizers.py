"""Optimisers for any Keras code: L-BFGS, and those that torch has by the names of Keras' own, but with other steps.

All are `keras.optimizers.Optimizer`s: they work in `Model.compile`, in a loop of your own, and in `kstyle.stylize`.

>>> import keras
>>> from kstyle import optimizers
>>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
>>> model.compile(optimizer=optimizers.get("torch-adam"), loss="mse")
>>> model.optimizer.epsilon
1e-08
"""

from kstyle.nn.optimizers import LBFGS, get, register
from kstyle.nn.torch_rules import TorchAdam, TorchRMSprop, TorchSGD

__all__ = ["LBFGS", "TorchAdam", "TorchRMSprop", "TorchSGD", "get", "register"]
