"""What is settled as kstyle is imported, before any framework is: the backend, how its threads wait, and which
GPU is a rank's.

Keras and OpenMP read the environment as they are loaded, so that later would be too late, and earlier nothing is needed
but to know what is installed.
"""

import contextlib
import importlib.util
import json
import os
import re
import sys

from kstyle.errors import UsageError, unknown

# Order of preference where the user has not said: speed on the machines at hand, measured in docs/benchmarks.md.
KNOWN = ("torch", "jax", "tensorflow")

# Threads that share a layer's work wait for one another hundreds of times a step. By default GNU's OpenMP (torch's on
# Linux) looks 300,000 times before it sleeps, Intel's and LLVM's for 200 ms: whoever else needs the core, another
# painting say, waits for a thread that does nothing. So few looks cost an idle machine little (docs/benchmarks.md).
WAITING = {"GOMP_SPINCOUNT": "6000", "KMP_BLOCKTIME": "0"}

# What Keras writes into its file by itself, when there is none. It says nothing of what the user wants.
_KERAS_DEFAULT = {"floatx": "float32", "epsilon": 1e-07, "backend": "tensorflow", "image_data_format": "channels_last"}


def choose():
    """The backend Keras will run on, found without importing it.

    In this order: the one that Keras runs on already; `KERAS_BACKEND`; the one in Keras' own file, `keras.json`, if it
    is installed and the file is not the one that Keras writes by itself; the first installed of `KNOWN`.

    Returns:
        `(name, why)`, `why` a few words for `kstyle info`.

    Raises:
        UsageError: `KERAS_BACKEND` names none of torch, jax, tensorflow, or none of them is installed.
    """
    if "keras" in sys.modules:
        return sys.modules["keras"].backend.backend(), "Keras was already imported with it"
    name = os.environ.get("KERAS_BACKEND")
    if name:
        if name not in KNOWN:
            raise unknown("KERAS_BACKEND", name, KNOWN)
        if not _installed(name):
            raise UsageError(f"KERAS_BACKEND is '{name}', which is not installed: pip install 'kstyle[{name}]'.")
        return name, "KERAS_BACKEND"
    path, name = _keras_file()
    if name in KNOWN and _installed(name):
        return name, path
    for name in KNOWN:
        if _installed(name):
            return name, "the first installed of " + ", ".join(KNOWN)
    raise UsageError("No backend is installed: pip install 'kstyle[torch]' (or [jax], [tensorflow]).")


def _installed(name):
    return importlib.util.find_spec(name) is not None


def _keras_file():
    """Its path, and the backend that the user wrote into it, or None."""
    path = os.path.join(os.environ.get("KERAS_HOME") or os.path.expanduser("~/.keras"), "keras.json")
    try:
        with open(path, encoding="utf-8") as file:
            found = json.load(file)
    except (OSError, ValueError):
        return path, None
    return path, found.get("backend") if isinstance(found, dict) and found != _KERAS_DEFAULT else None


def use_device(name):
    """Has the framework, which is not imported yet, compute on a device.

    Args:
        name: `"auto"`: a GPU if there is one; `"cpu"`; `"cuda"` or `"cuda:1"`, NVIDIA's, or AMD's by ROCm; with torch
            `"mps"` (Apple) and `"xpu"` (Intel) too. Whether there is such a device is seen when the framework is
            imported.

    Raises:
        UsageError: no such name, not one for this backend, or Keras is imported and has settled on a device.

    >>> use_device("cuda:x")
    Traceback (most recent call last):
    ...
    kstyle.errors.UsageError: device: expected auto, cpu, cuda, cuda:1, mps or xpu; got 'cuda:x'.
    """
    kind, number = device_named(name)
    if kind == "auto":
        return
    if "keras" in sys.modules:
        raise UsageError("device: Keras is imported and has settled on one; --device comes before --plugin.")
    if choose()[0] == "torch":
        if kind == "cuda" and not number and "LOCAL_RANK" in os.environ:
            name = f"cuda:{os.environ['LOCAL_RANK']}"  # of several ranks each has its own
        os.environ["KERAS_TORCH_DEVICE"] = str(name)
        return
    if kind not in ("cpu", "cuda"):
        raise UsageError(f"device: '{name}' is for KERAS_BACKEND=torch; JAX and TensorFlow take cpu, cuda or cuda:1.")
    if kind == "cpu":
        os.environ["JAX_PLATFORMS"], os.environ["CUDA_VISIBLE_DEVICES"] = "cpu", "-1"
    else:
        os.environ["JAX_PLATFORMS"] = "cuda"
        if number:
            os.environ["CUDA_VISIBLE_DEVICES"] = number


def device_named(name):
    """`"cuda:1"` -> ("cuda", "1"); raises UsageError if no device is called so."""
    found = re.fullmatch(r"(auto|cpu|mps|cuda|xpu)(?::(\d+))?", str(name))
    if not found or (found[2] and found[1] not in ("cuda", "xpu")):
        raise UsageError(f"device: expected auto, cpu, cuda, cuda:1, mps or xpu; got '{name}'.")
    return found.groups()


# What Keras loads beside the backend where it is installed, for its wrappers, plots and callbacks.
FOR_OTHERS = ("sklearn", "matplotlib", "jax")


def load_keras_alone():
    """Loads Keras as if what it has for other uses alone were not installed: a second of the four until a style network
    begins to paint. For a program that does nothing else; these packages can be imported afterwards, Keras' own parts
    that need them say that they are missing. Where Keras is loaded already, it stays as it is."""
    if "keras" in sys.modules:
        return
    name, _ = choose()
    left_out = [other for other in FOR_OTHERS if other != name and other not in sys.modules]
    sys.modules.update(dict.fromkeys(left_out))  # None there makes `import` fail as if there were no such package
    try:
        importlib.import_module("keras")
    finally:
        for other in left_out:
            del sys.modules[other]


def share_cores():
    """Lets waiting threads give their core up soon, unless the environment says how threads wait. OpenMP reads this as
    it is loaded: where torch was imported before kstyle, it is too late."""
    if not {"OMP_WAIT_POLICY", *WAITING} & os.environ.keys():
        os.environ.update(WAITING)


def place_rank(name):
    """Gives a process that torchrun started the GPU of its number. Keras reads this as it is loaded and would put all
    on the first. Where there are no GPUs, or the user has said where, nothing changes."""
    number = os.environ.get("LOCAL_RANK")
    if name != "torch" or number is None or "KERAS_TORCH_DEVICE" in os.environ:
        return
    if importlib.import_module(name).cuda.is_available():  # a rank needs it anyway; no other process loads it here
        os.environ["KERAS_TORCH_DEVICE"] = f"cuda:{number}"


def settle():
    """Writes these into the environment. Returns `(backend, why)`; `(None, None)` where there is none, or an unknown
    one, which `kstyle.backend` then tells, as nobody may need it."""
    share_cores()
    try:
        name, why = choose()
    except UsageError:
        return None, None
    os.environ["KERAS_BACKEND"] = name
    if "KSTYLE_DEVICE" in os.environ and "keras" not in sys.modules:
        with contextlib.suppress(UsageError):  # told by kstyle.backend
            use_device(os.environ["KSTYLE_DEVICE"])
    if name == "torch" and sys.platform == "darwin":
        # What Apple's GPU lacks is computed on the processor; torch says so, once for each operation.
        os.environ.setdefault("PYTORCH_ENABLE_MPS_FALLBACK", "1")
    place_rank(name)
    if name == "tensorflow":
        # TensorFlow prints a page about oneDNN and AVX to the terminal before it has done anything.
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    return name, why
