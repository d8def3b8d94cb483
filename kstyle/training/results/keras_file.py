"""`model.keras`: a run's network as one file of plain Keras, from pictures to probabilities."""

import logging

import keras
import numpy as np

from kstyle.backend import keras_private
from kstyle.errors import KStyleError
from kstyle.io import runs
from kstyle.io.files import one_line, replacing
from kstyle.nn import plain
from kstyle.training.boxes import heads

ops = keras.ops
log = logging.getLogger("kstyle")

# By how much a probability of the file may be off, on pictures of noise.
TOLERANCE = 1e-5


def joined(model, normalise, shape):
    """A run's network in Keras' own layers and ops, in float32, with its normalisation before it.

    Args:
        model: gives logits of normalised pictures.
        normalise: a `kstyle.training.loop.steps.Normalise`.
        shape: (H, W, C) of a picture.

    Returns:
        `(network, images, logits)`: the copy of the model, and the two tensors to make a `keras.Model` of. `images`:
        (N, H, W, C), numbers from 0 to 255.

    Raises:
        ValueError: the model is no graph of layers, see `kstyle.nn.plain.plain`.
    """
    network = plain.plain(model, "float32")
    images = keras.Input(tuple(shape), name="images")
    # Ops and no layers: Rescaling asks for TensorFlow where it was ever imported, and Normalization might be trained.
    scale, shift = normalise.scale_and_shift()
    return network, images, network(images * scale + shift)


@keras_private.without_tensorflow()
def write(folder, model, normalise, shape, several=False):
    """Writes `model.keras` of a run: (N, H, W, C) numbers from 0 to 255, bytes too, -> (N, K) probabilities; with a box
    head a dict of `probabilities` and `boxes`, (N, 4) parts of the picture's sides: left, top, right, bottom.

    Where it cannot be had, because the user's own model is no graph of layers or a layer's plain counterpart gives
    other results, there is no such file, and the log says why.

    Args: as for `joined`.
        folder: of the run.
        several: whether a picture may be of several classes: each has a probability of its own.
    """
    path, noise = folder / runs.KERAS, ops.convert_to_tensor(pictures(shape))
    try:
        network, images, logits = joined(model, normalise, shape)
        logits, boxes = parted(logits, model)
        outputs = probable(several)(logits)
        if boxes is not None:
            outputs = {"probabilities": outputs, "boxes": boxes}
        whole = keras.Model(images, outputs, name=f"{network.name}_of_pictures")
        # A model that computes in bfloat16 differs by its rounding, and is not compared.
        if all(layer.compute_dtype == "float32" for layer in plain.flat(model)):
            wanted, there = parted(ops.cast(model(normalise(noise), training=False), "float32"), model)
            got = whole(ops.cast(noise, "float32"), training=False)
            pairs = [
                ((ops.sigmoid if several else ops.softmax)(wanted), got if boxes is None else got["probabilities"])
            ]
            pairs += [] if boxes is None else [(there, got["boxes"])]
            off = max(float(np.abs(ops.convert_to_numpy(a) - ops.convert_to_numpy(b)).max()) for a, b in pairs)
            if not off <= TOLERANCE:  # so that NaN counts
                raise ValueError(f"its results are off by {off:.2g}")
        with replacing(path, path.suffix) as beside:  # Keras goes by the suffix
            whole.save(beside)
    except KStyleError:  # the disk is full, say
        raise
    except Exception as error:  # a layer of the user's may fail in any way, and the training is done
        path.unlink(missing_ok=True)
        log.warning("There is no %s: %s.", path, one_line(error))


def probable(several):
    """The layer from logits to probabilities."""
    named = {"name": "probabilities", "dtype": "float32"}
    return keras.layers.Activation("sigmoid", **named) if several else keras.layers.Softmax(**named)


def parted(outputs, model):
    """`(logits, boxes)` of what a network gives, boxes cut at the picture's edges; None where it has no box head."""
    if not heads.has_box(model):
        return outputs, None
    logits, boxes = heads.parted(outputs, outputs.shape[-1] - 4)
    return logits, ops.clip(boxes, 0.0, 1.0)


def pictures(shape, count=3):
    """(count, *shape) uint8: the same noise each time, ever coarser."""
    *space, channels = shape
    rng = np.random.default_rng(0)
    found = []
    for k in range(count):
        noise = rng.integers(0, 256, (*(-(-side // 4**k) for side in space), channels), np.uint8)
        for axis, side in enumerate(space):
            noise = noise.repeat(4**k, axis=axis).take(range(side), axis=axis)
        found.append(noise)
    return np.stack(found)
