"""Files that only PyTorch writes: ONNX and `.pth`. It and ONNX's own packages are imported inside, as few need them."""

import importlib.util
import logging
import warnings

from kstyle import backend
from kstyle.errors import UsageError

# The one that torch's exporter writes without converting; onnxruntime has read it since 1.14.
OPSET = 18


def need(*packages):
    """Raises a UsageError that says how to install those of `packages` that are not there."""
    missing = [name for name in packages if importlib.util.find_spec(name) is None]
    if missing:
        raise UsageError(f"An ONNX file needs {' and '.join(missing)}: pip install 'kstyle[onnx]'.")


def need_onnx():
    """Raises a UsageError that says what to do where no ONNX file can be written."""
    if backend.NAME != "torch":
        raise UsageError(
            f"ONNX files are written through PyTorch, and this is {backend.NAME}: set KERAS_BACKEND=torch "
            "(a run's weights are the same on every backend)."
        )
    need("onnx", "onnxscript")


def write_onnx(model, call, example, path, outputs, notes, *, name="images", free=None):
    """Writes a network as an ONNX file.

    Args:
        model: `keras.Model`, or a list of them, whose weights go into the file.
        call: function of a tensor like `example` -> a tuple of tensors; runs `model`.
        example: NumPy array, of two at least along the axes that are free; or {name: such an array} of several inputs,
            all with the same axes free, which `call` takes in this order.
        path: the file.
        outputs: names of what `call` gives.
        notes: {key: string}, the file's metadata.
        name: of the input where there is one.
        free: {axis of the input that may be of any length in the file: the least}; None: the first, for any number of
            pictures.

    Raises:
        UsageError: the backend is not torch, or a package is missing.
    """
    need_onnx()
    free = {0: 1} if free is None else free
    examples = example if isinstance(example, dict) else {name: example}
    import keras
    import torch

    class Network(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.models = torch.nn.ModuleList(model if isinstance(model, list) else [model])

        def forward(self, *images):
            return call(*images)

    quiet = logging.getLogger("torch.onnx")
    level = quiet.level
    quiet.setLevel(logging.ERROR)  # it says for each of torchvision's functions that torchvision is not there
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of torch about itself
            program = torch.onnx.export(
                Network().eval(),
                tuple(keras.ops.convert_to_tensor(array) for array in examples.values()),
                dynamo=True,
                opset_version=OPSET,
                input_names=list(examples),
                output_names=list(outputs),
                dynamic_shapes=(
                    tuple(
                        {axis: torch.export.Dim(f"{key}{axis}", min=least) for axis, least in free.items()}
                        for key in examples
                    ),
                ),
                verbose=False,
            )
    finally:
        quiet.setLevel(level)
    found = program.model
    # torch notes for each node which line of which file of this machine it came from.
    for part in (found, found.graph, *found.graph, *found.graph.inputs, *found.graph.outputs):
        part.metadata_props.clear()
    found.metadata_props.update(notes)
    program.save(str(path), external_data=False)


def run_onnx(path, outputs, inputs):
    """What an ONNX file gives, on the processor: a list of arrays.

    Args:
        path: the file.
        outputs: names of what is wanted.
        inputs: {name: NumPy array}.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"]).run(outputs, inputs)


def write_pth(arrays, path):
    """Writes {name: NumPy array} as what `torch.save` makes of a state dict.

    Raises:
        UsageError: PyTorch is not installed.
    """
    if importlib.util.find_spec("torch") is None:
        raise UsageError("A .pth file is written by PyTorch: pip install 'kstyle[torch]', or name a .safetensors file.")
    import torch

    torch.save({name: torch.tensor(array) for name, array in arrays.items()}, path)
