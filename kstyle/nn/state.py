"""Variables as named arrays and back."""

from kstyle import backend
from kstyle.errors import DataError


def named(variables, group):
    """{"group/0007 path": array}: the number keeps apart what Keras gave the same path.

    The arrays are views where the framework has such: they hold until the variables change."""
    return {f"{group}/{i:04d} {v.path}": backend.as_numpy(v.value) for i, v in enumerate(variables)}


def assign(variables, found, group, path):
    """Gives variables what `named` had of them, from a mapping of arrays, of which it takes one at a time.

    Raises:
        DataError: it is of other variables; `path` says whose it is.
    """
    names = {name.split(" ")[0]: name for name in found if name.startswith(group + "/")}
    if len(names) != len(variables):
        raise DataError(f"{path}: it is of another model than the recipe's ({len(names)} arrays for {len(variables)}).")
    for i, variable in enumerate(variables):
        name = names.get(f"{group}/{i:04d}")
        array = None if name is None else found[name]
        if array is None or tuple(array.shape) != tuple(variable.shape):
            raise DataError(f"{path}: it is of another model than the recipe's ({variable.path} does not fit).")
        variable.assign(array)
