"""Variables as named arrays and back."""

import keras

from kstyle.errors import DataError


def named(variables, group):
    """{"group/0007 path": array}: the number keeps apart what Keras gave the same path."""
    return {f"{group}/{i:04d} {v.path}": keras.ops.convert_to_numpy(v.value) for i, v in enumerate(variables)}


def assign(variables, found, group, path):
    found = {name.split(" ")[0]: array for name, array in found.items() if name.startswith(group + "/")}
    if len(found) != len(variables):
        raise DataError(f"{path}: it is of another model than the recipe's ({len(found)} arrays for {len(variables)}).")
    for i, variable in enumerate(variables):
        array = found.get(f"{group}/{i:04d}")
        if array is None or tuple(array.shape) != tuple(variable.shape):
            raise DataError(f"{path}: it is of another model than the recipe's ({variable.path} does not fit).")
        variable.assign(array)
