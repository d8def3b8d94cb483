"""A network of one's own in a Python file: `model: {name: my_file.py:build}` of a recipe.

The file is a plugin (`kstyle.plugins`), and is run where whoever starts kstyle has named it or allowed it. Its function
is called with those of these that it has parameters for:

    classes, num_classes        how many classes
    size                        (height, width) of a picture in pixels
    channels                    of a picture
    input_shape, shape          (height, width, channels)
    dtype                       "float32", or "mixed_bfloat16" where that is the recipe's precision

Further parameters have defaults, and are options of the recipe's section `model`. It gives a `keras.Model` from
normalised pictures to logits. A run's folder has a copy of the file, and its recipe.yaml names that.
"""

import inspect
import logging
import os
import re
from pathlib import Path

from kstyle import plugins
from kstyle.errors import DataError, UsageError
from kstyle.io.files import expanded, one_line, read_bytes, sha256
from kstyle.models.rows.row import Network

log = logging.getLogger("kstyle")

_NAME = re.compile(r"(.+\.py):([A-Za-z_]\w*)")
_LARGEST = 1_000_000  # bytes of a file that is copied into a run
GIVEN = ("classes", "num_classes", "size", "channels", "input_shape", "shape", "dtype")


def names_one(name):
    """Whether a recipe's `model.name` is of this kind.

    >>> names_one("my_file.py:build"), names_one("resnet18")
    (True, False)
    """
    return isinstance(name, str) and _NAME.fullmatch(name) is not None


def _parts(name):
    return _NAME.fullmatch(name).groups()


def absolute(name, folder):
    """The name with a path that means the same file from any folder: it is relative to `folder`."""
    file, function = _parts(name)
    return f"{os.path.abspath(os.path.join(folder, expanded(file)))}:{function}"


def beside(name):
    """The name as a recipe has it that lies in the file's folder.

    >>> beside("/home/me/my_file.py:build")
    'my_file.py:build'
    """
    file, function = _parts(name)
    return f"{os.path.basename(file)}:{function}"


def run(name):
    """Runs the file, which whoever started kstyle has named."""
    plugins.load(_parts(name)[0])


def checksum(name):
    """Hex SHA-256 of the file."""
    return sha256(_parts(name)[0])


def row(name):
    """What is known of the network, a `kstyle.models.rows.row.Network` that goes by the file's and the function's name.

    Args:
        name: with an absolute path.

    Raises:
        UsageError: the file may not run, or has no such function, or one with parameters that nobody gives.
    """
    file, function = _parts(name)
    build, label = plugins.function(file, function, "The recipe"), one_line(beside(name))
    known = inspect.signature(build).parameters
    options = {
        key: each.default
        for key, each in known.items()
        if key not in GIVEN and each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD)
    }
    for key, default in options.items():
        if default is inspect.Parameter.empty:
            raise UsageError(f"{label}: the parameter '{key}' has no default; without one are {', '.join(GIVEN)}.")

    def made(classes, size, channels, *, dtype, **given):
        shape = (*size, channels)
        offered = dict(zip(GIVEN, (classes, classes, tuple(size), channels, shape, shape, dtype)))
        if "dtype" not in known and dtype != "float32":
            raise UsageError(f"{label}: takes no dtype, so the recipe's precision is float32.")
        return _checked(build(**{key: offered[key] for key in GIVEN if key in known}, **given), classes, shape, label)

    return Network(f"{Path(file).stem}.{function}", build=made, options=options)


def _checked(model, classes, shape, label):
    import keras

    from kstyle.training.setup import own_model

    if not isinstance(model, keras.Model):
        raise UsageError(f"{label}: expected a keras.Model; got {type(model).__name__}.")
    try:
        own_model.check(model, classes, shape)
    except UsageError as error:
        raise UsageError(f"{label}: {str(error).removeprefix('model: ')}") from error
    if any(isinstance(layer, keras.layers.Rescaling) for layer in model.layers):
        log.warning("%s: has a Rescaling layer, and gets pictures that data.normalize has scaled already.", label)
    return model


def source(name):
    """What a run keeps of the file: its name, its bytes, and what run.json says of it."""
    file, called = _parts(name)[0], os.path.basename(_parts(name)[0])
    return called, read_bytes(Path(file), _LARGEST), {"code": {"file": called, "sha256": checksum(name)}}


def unchanged(folder, name, facts):
    """Whether a run's copy of the file is what it was trained with.

    Args:
        folder: of the run.
        name: of its network; of others than those in files nothing is looked at.
        facts: its run.json.

    Raises:
        DataError: it is another.
    """
    if names_one(name) and checksum(name) != facts.get("code", {}).get("sha256"):
        raise DataError(f"{one_line(folder)}: {one_line(beside(name))} is another than when the run began.")
