"""A trained network for other programs: ONNX, PyTorch's names, plain Keras. Run before it gets its name."""

import contextlib
import json
import os
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np

import kstyle
from kstyle import backend
from kstyle.backend import exchange
from kstyle.errors import DataError, UsageError, unknown
from kstyle.io import checkpoints, names, runs
from kstyle.io.files import expanded
from kstyle.models import torch_names
from kstyle.nn import layers
from kstyle.training.loop import steps
from kstyle.training.results import evaluate
from kstyle.training.setup import build

ops = keras.ops

# {format: what its files may end in, the usual first}
SUFFIXES = {"onnx": (".onnx",), "torch": (".safetensors", ".pth"), "keras": (".keras",)}
# By how much a probability may be off, and a logit as a share of the largest.
TOLERANCE = 1e-4


@dataclass(frozen=True)
class Exported:
    """A file that was written.

    Attributes:
        path: the file.
        format: key of `SUFFIXES`.
        bytes: its size.
        check: what was found when it was read again, for the user; None: it was not.
        needs_kstyle: a `.keras` file with layers that are not Keras' own opens after `from kstyle
            import export`.
    """

    path: Path
    format: str
    bytes: int
    check: str | None
    needs_kstyle: bool = False


@dataclass(frozen=True)
class Network:
    """A run's network in float32, whatever it was trained in: `network(images)` gives (logits, probabilities)."""

    model: keras.Model
    normalise: steps.Normalise
    facts: dict
    fresh: object  # a function: another such model, with initial values

    def __call__(self, images):
        logits = ops.cast(self.model(self.normalise(images), training=False), "float32")
        return logits, ops.softmax(logits)

    def notes(self):
        """{name: string} for a file's metadata; lists and numbers as JSON."""
        facts = {
            "classes": self.facts["classes"],
            "mean": self.normalise.mean,
            "std": self.normalise.std,
            "shape": self.facts["shape"],
        }
        return {"kstyle": kstyle.__version__, "model": self.model.name} | {k: json.dumps(v) for k, v in facts.items()}


def export(
    folder: str | os.PathLike[str],
    format: str | None = None,
    path: str | os.PathLike[str] | None = None,
    check: bool = True,
) -> Exported:
    """Writes the network of a run as a file for other programs.

    | format | takes | gives |
    | --- | --- | --- |
    | `onnx` | `images`: (N, H, W, C) uint8, any N | `logits` and `probabilities`, (N, K) float32 |
    | `keras` | (N, H, W, C), numbers from 0 to 255 | a dict of the same two |
    | `torch` | a state dict with torchvision's names: normalised pictures as torchvision's model takes them | logits |

    Args:
        folder: of the run.
        format: key of `SUFFIXES`. None: as `path` ends, or `"onnx"`.
        path: the file; None: `model.onnx`, `model.safetensors` or `model.keras` in the run's folder.
        check: read the file again and compare: ONNX and Keras by running it on three pictures of noise (probabilities
            to 1e-4, logits to 1e-4 of the largest), a state dict tensor by tensor. Nothing is left at `path` but what
            passed.

    Returns:
        `Exported`.

    Raises:
        UsageError: an unknown format or suffix, a network without a counterpart in PyTorch, a package or backend that
            is not there.
        DataError: no run, a file that cannot be written, or that gives other results than the run.

    >>> import kstyle
    >>> kstyle.export("runs/ants", path="ants.onnx").check  # doctest: +SKIP
    """
    folder = expanded(folder)
    kind, file = target(folder, format, expanded(path))
    if kind == "onnx":
        exchange.need_onnx()
        if check:
            exchange.need("onnxruntime")
    network = load(folder)
    writer, reader = WRITERS[kind], CHECKS[kind]
    with _beside(file) as beside:
        made = writer(network, beside)
        said = reader(network, beside) if check else None
        size = beside.stat().st_size
    return Exported(file, kind, size, said, bool(made))


def target(folder, format=None, path=None):
    """`(format, path)` as `export` would have them, settled without the network.

    Raises:
        UsageError: they do not fit together, or the file is one of the run's own.
        DataError: there is no folder for it.
    """
    if format is not None and format not in SUFFIXES:
        raise unknown("format", format, SUFFIXES)
    if path is None:
        format = format or "onnx"
        return format, Path(folder) / f"model{SUFFIXES[format][0]}"
    path = Path(path)
    by_suffix = {suffix: name for name, suffixes in SUFFIXES.items() for suffix in suffixes}
    suffixes = SUFFIXES[format] if format else tuple(by_suffix)
    if path.suffix.lower() not in suffixes:
        raise UsageError(f"{path}: expected a name that ends in {' or '.join(suffixes)}.")
    own = (runs.STATE, runs.BEST, runs.RESULT)
    known = path.name in own and (path.parent / "run.json").exists()
    if known or any(names.same_file(path, Path(folder) / name) for name in own):
        raise UsageError(f"{path} belongs to the run: choose another name.")
    if not path.parent.is_dir():
        raise DataError(f"{path}: there is no folder {path.parent}.")
    return by_suffix[path.suffix.lower()], path


def load(folder):
    """A run as a `Network`."""
    # Kernels that round more would be blamed on the file.
    backend.configure(deterministic=True)
    recipe, facts, model, normalise = evaluate.load(folder)
    exact = recipe.model_copy(update={"precision": "float32"})

    def fresh():
        return build.network(exact, len(facts["classes"]), facts["shape"])

    if backend.precision(recipe.precision) != "float32":
        rounded, model = model, fresh()
        model.set_weights(rounded.get_weights())
    return Network(model, normalise, facts, fresh)


@contextlib.contextmanager
def _beside(path):
    """As `runs.replacing`, by a name with the suffix, which Keras goes by."""
    try:
        with runs.replacing(path) as part:
            beside = part.with_name(part.name + path.suffix.lower())
            try:
                yield beside
                os.replace(beside, part)
            finally:
                beside.unlink(missing_ok=True)
    except OSError as error:
        raise DataError(f"{path}: cannot be written ({error.strerror or error}).") from error


def pictures(shape, count=3):
    """(count, *shape) uint8: the same noise each time, ever coarser."""
    height, width, channels = shape
    rng = np.random.default_rng(0)
    found = []
    for k in range(count):
        noise = rng.integers(0, 256, (-(-height // 4**k), -(-width // 4**k), channels), np.uint8)
        found.append(noise.repeat(4**k, axis=0).repeat(4**k, axis=1)[:height, :width])
    return np.stack(found)


def _compare(network, images, got):
    """How far outputs are from the network's, in words.

    Args:
        images: (N, H, W, C) uint8.
        got: (logits, probabilities) as arrays.

    Raises:
        DataError: too far.
    """
    wanted = [ops.convert_to_numpy(x) for x in network(ops.convert_to_tensor(images))]
    share = np.abs(got[0] - wanted[0]).max() / max(1.0, np.abs(wanted[0]).max())
    off = np.abs(got[1] - wanted[1]).max()
    if not max(share, off) <= TOLERANCE:  # so that NaN fails too
        raise DataError(
            f"The exported file is not the network: probabilities are off by {off:.2g}, logits by {share:.2g} of the "
            f"largest, and {TOLERANCE:.0e} is allowed. Nothing was kept."
        )
    return f"run on {len(images)} pictures, probabilities are off by at most {off:.1g}"


# ---------------------------------------------------------------------------------------------------- ONNX


def _write_onnx(network, path):
    example = pictures(network.facts["shape"], 2)
    exchange.write_onnx(network.model, network, example, path, ("logits", "probabilities"), network.notes())


def _check_onnx(network, path):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    images = pictures(network.facts["shape"])
    return _compare(network, images, session.run(["logits", "probabilities"], {"images": images}))


# ---------------------------------------------------------------------------------------------------- PyTorch


def state_dict(model):
    """The weights of a network under their torch names, {name: array} in torch's layouts.

    The inverse of `torch_names.convert`, made from the same table: what it does to an array is done to the numbers of
    the places, which tells where each came from.

    Raises:
        UsageError: the network has no counterpart in PyTorch.
    """
    found = {}
    for name, (variable, shape, bring) in torch_names.entries(model).items():
        places = np.asarray(bring(np.arange(np.prod(shape), dtype="int32").reshape(shape))).ravel()
        array = np.empty(shape, "float32")
        array.reshape(-1)[places] = ops.convert_to_numpy(variable.value).ravel()
        found[name] = array
        if name.endswith(".running_var"):
            # torch's layer has it and only reads it where its momentum is None.
            found[name.removesuffix("running_var") + "num_batches_tracked"] = np.array(0, "int64")
    return found


def _write_torch(network, path):
    arrays = state_dict(network.model)
    if path.suffix == ".pth":
        exchange.write_pth(arrays, path)
    else:
        from safetensors.numpy import save

        # Its save_file makes files that nobody else may read.
        path.write_bytes(save(arrays, metadata=network.notes()))


def _check_torch(network, path):
    state = checkpoints.read(path)
    again = network.fresh()
    tensors = torch_names.convert(state, again, skip_head=False, where=str(path)).tensors
    for ours, theirs in zip(network.model.weights, again.weights):
        if not np.array_equal(*(ops.convert_to_numpy(v.value) for v in (ours, theirs))):
            raise DataError(f"The exported file is not the network: {ours.path} differs. Nothing was kept.")
    return f"read again, all {tensors} tensors are equal"


# ---------------------------------------------------------------------------------------------------- Keras


def plain(model):
    """A copy of a network in Keras' own layers, which opens without kstyle; a layer that Keras lacks stays."""
    originals = {layer.name: layer for layer in model.layers}

    def same_padding(layer):
        # Keras' "same" is symmetric for an odd kernel that moves by one pixel.
        return layer.strides == (1, 1) and all(size == 2 * layer.pad + 1 for size in layer.kernel_size)

    def clone(layer):
        config = layer.get_config()
        if isinstance(layer, layers.Conv2D):
            if config.pop("pad") is not None:
                config["padding"] = "same" if same_padding(layer) else "valid"
            return keras.layers.Conv2D.from_config(config)
        if isinstance(layer, layers.BatchNormalization):
            config.pop("unbiased_variance")
            return keras.layers.BatchNormalization.from_config(config)
        if isinstance(layer, layers.Pool2D) and layer.kind in _POOLS and layer.factor == 1:
            return _POOLS[layer.kind](layer.size, layer.strides, data_format="channels_last", name=layer.name)
        return layer.__class__.from_config(config)

    def call(layer, *arguments, **keywords):
        original = originals[layer.name]
        pad = 0 if type(layer) is type(original) else getattr(original, "pad", None)
        if pad and getattr(layer, "padding", None) == "valid":
            # Zeros around what a max pool sees: the networks' padded pools come after a ReLU.
            zeros = keras.layers.ZeroPadding2D(pad, data_format="channels_last", name=f"{layer.name}_zeros")
            arguments = (zeros(arguments[0]), *arguments[1:])
        return layer(*arguments, **keywords)

    copy = keras.models.clone_model(model, clone_function=clone, call_function=call)
    for name, layer in originals.items():
        if layer.weights:
            copy.get_layer(name).set_weights(layer.get_weights())
    return copy


_POOLS = {"max": keras.layers.MaxPooling2D, "average": keras.layers.AveragePooling2D}


def _write_keras(network, path):
    """Returns whether layers of kstyle's are left in the file."""
    inner = plain(network.model)
    images = keras.Input(tuple(network.facts["shape"]), name="images")
    # Keras' Rescaling asks for TensorFlow when it is run on another backend.
    normalise = keras.layers.BatchNormalization(
        center=False, scale=False, epsilon=0.0, trainable=False, name="normalise"
    )
    logits = inner(normalise(images))
    mean, std = (255 * np.asarray(numbers) for numbers in (network.normalise.mean, network.normalise.std))
    normalise.set_weights([mean, std**2])
    outputs = {"logits": logits, "probabilities": keras.layers.Softmax(name="probabilities")(logits)}
    keras.Model(images, outputs, name=f"{inner.name}_pictures").save(path)
    return any(type(layer).__module__.startswith("kstyle.") for layer in inner.layers)


def _check_keras(network, path):
    again = keras.saving.load_model(path, compile=False, safe_mode=True)
    images = pictures(network.facts["shape"])
    got = again(ops.convert_to_tensor(images.astype("float32")), training=False)
    return _compare(network, images, [ops.convert_to_numpy(got[name]) for name in ("logits", "probabilities")])


WRITERS = {"onnx": _write_onnx, "torch": _write_torch, "keras": _write_keras}
CHECKS = {"onnx": _check_onnx, "torch": _check_torch, "keras": _check_keras}
