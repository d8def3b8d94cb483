"""A trained network for other programs: ONNX, PyTorch's names, plain Keras. Run before it gets its name."""

import json
import os
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np

import kstyle
from kstyle import backend
from kstyle.backend import keras_private
from kstyle.backend.by_torch import exchange
from kstyle.errors import DataError, UsageError, unknown
from kstyle.io import checkpoints, names, runs
from kstyle.io.files import expanded
from kstyle.models import finetune, torch_names
from kstyle.nn import plain
from kstyle.training.boxes import heads
from kstyle.training.loop import steps
from kstyle.training.results import evaluate, keras_file
from kstyle.training.setup import build

ops = keras.ops

# {format: what its files may end in, the usual first}
SUFFIXES = {"onnx": (".onnx",), "torch": (".safetensors", ".pth"), "keras": (".keras",)}
OUTPUTS = ("logits", "probabilities", "boxes")
# By how much a probability may be off, or a side of a box, and a logit as a share of the largest.
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
    """A run's network in float32, whatever it was trained in: `network(images)` gives what `outputs` names."""

    model: keras.Model
    normalise: steps.Normalise
    facts: dict
    fresh: object  # a function: another such model, with initial values

    def __call__(self, images):
        outputs = ops.cast(self.model(self.normalise(images), training=False), "float32")
        logits, boxes = keras_file.parted(outputs, self.model)
        probable = ops.sigmoid if self.facts.get("several") else ops.softmax
        return (logits, probable(logits), boxes)[: len(self.outputs)]

    @property
    def outputs(self):
        """Names of what it gives."""
        return OUTPUTS if heads.has_box(self.model) else OUTPUTS[:2]

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
    | `keras` | (N, H, W, C), numbers from 0 to 255 | a dict of the same |
    | `torch` | a state dict with torchvision's names: normalised pictures as torchvision's model takes them | logits |

    A run with boxes gives `boxes` too in the first two, (N, 4) float32 parts of the picture's sides: left, top, right,
    bottom.

    Args:
        folder: of the run.
        format: key of `SUFFIXES`. None: as `path` ends, or `"onnx"`.
        path: the file; None: `model.onnx`, `model.safetensors` or `export.keras` in the run's folder.
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
    with runs.replacing(file, file.suffix.lower()) as beside:
        made = writer(network, beside)
        said = reader(network, beside) if check else None
        size = beside.stat().st_size
    return Exported(file, kind, size, said, bool(made))


def target(folder, format=None, path=None):
    """`(format, path)` as `export` would have them, settled without the network.

    Raises:
        UsageError: the file's suffix is not the format's, or the file is one of the run's own.
        DataError: there is no folder for it.
    """
    if format is not None and format not in SUFFIXES:
        raise unknown("format", format, SUFFIXES)
    if path is None:
        format = format or "onnx"
        # A run's own model.keras gives the probabilities alone.
        return format, Path(folder) / f"{'export' if format == 'keras' else 'model'}{SUFFIXES[format][0]}"
    path = Path(path)
    by_suffix = {suffix: name for name, suffixes in SUFFIXES.items() for suffix in suffixes}
    suffixes = SUFFIXES[format] if format else tuple(by_suffix)
    if path.suffix.lower() not in suffixes:
        raise UsageError(f"{path}: expected a name that ends in {' or '.join(suffixes)}.")
    own = (runs.STATE, runs.BEST, runs.RESULT, runs.KERAS)
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

    def fresh():
        return build.network(recipe, len(facts["classes"]), facts["shape"], "float32", folder)

    if backend.precision(recipe.precision) != "float32":
        rounded, model = model, fresh()
        model.set_weights(rounded.get_weights())
    return Network(model, normalise, facts, fresh)


def _compare(network, images, got):
    """How far outputs are from the network's, in words.

    Args:
        images: (N, H, W, C) uint8.
        got: what the network gives, as arrays.

    Raises:
        DataError: too far.
    """
    wanted = [ops.convert_to_numpy(x) for x in network(ops.convert_to_tensor(images))]
    share = np.abs(got[0] - wanted[0]).max() / max(1.0, np.abs(wanted[0]).max())
    off = max(np.abs(mine - its).max() for mine, its in zip(got[1:], wanted[1:]))
    if not max(share, off) <= TOLERANCE:  # so that NaN fails too
        raise DataError(
            f"The exported file is not the network: probabilities are off by {off:.2g}, logits by {share:.2g} of the "
            f"largest, and {TOLERANCE:.0e} is allowed. Nothing was kept."
        )
    return f"run on {len(images)} pictures, probabilities are off by at most {off:.1g}"


# ---------------------------------------------------------------------------------------------------- ONNX


def _write_onnx(network, path):
    example = keras_file.pictures(network.facts["shape"], 2)
    exchange.write_onnx(network.model, network, example, path, network.outputs, network.notes())


def _check_onnx(network, path):
    images = keras_file.pictures(network.facts["shape"])
    return _compare(network, images, exchange.run_onnx(path, network.outputs, {"images": images}))


# ---------------------------------------------------------------------------------------------------- PyTorch


def state_dict(model):
    """The weights of a network under their torch names, {name: array} in torch's layouts.

    The inverse of `torch_names.convert`, made from the same table: what it does to an array is done to the numbers of
    the places, which tells where each came from.

    Raises:
        UsageError: the network has no counterpart in PyTorch.
    """
    if any(layer.name.startswith(finetune.OWN_HEAD) for layer in model.layers):
        raise UsageError("The head that its recipe lists has no names in PyTorch: write .onnx or .keras.")
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
    if heads.has_box(network.model):
        raise UsageError("A state dict with torchvision's names has no place for the box head: export onnx or keras.")
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


@keras_private.without_tensorflow()
def _write_keras(network, path):
    """Returns whether layers of kstyle's are left in the file."""
    inner, images, outputs = keras_file.joined(network.model, network.normalise, network.facts["shape"])
    logits, boxes = keras_file.parted(outputs, network.model)
    outputs = {"logits": logits, "probabilities": keras_file.probable(network.facts.get("several"))(logits)}
    if boxes is not None:
        outputs["boxes"] = boxes
    keras.Model(images, outputs, name=f"{inner.name}_pictures").save(path)
    return plain.has_ours(inner)


@keras_private.without_tensorflow()
def _check_keras(network, path):
    again = keras.saving.load_model(path, compile=False, safe_mode=True)
    images = keras_file.pictures(network.facts["shape"])
    got = again(ops.convert_to_tensor(images.astype("float32")), training=False)
    return _compare(network, images, [ops.convert_to_numpy(got[name]) for name in network.outputs])


WRITERS = {"onnx": _write_onnx, "torch": _write_torch, "keras": _write_keras}
CHECKS = {"onnx": _check_onnx, "torch": _check_torch, "keras": _check_keras}
