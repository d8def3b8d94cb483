"""Which device PyTorch's side of the seam runs on, what it is called, and what memory it has."""

import functools
import os
import sys

import keras
import torch

from kstyle.errors import UsageError


@functools.cache
def settled():
    """The `torch.device` that Keras puts its tensors on: what KERAS_TORCH_DEVICE says, or the first GPU, or the CPU.

    Raises:
        UsageError: this torch has no such device.
    """
    try:
        return keras.ops.empty(()).device
    except (RuntimeError, AssertionError, NotImplementedError, ValueError) as error:
        name = os.environ.get("KERAS_TORCH_DEVICE", "")
        there = ", ".join(each["name"] for each in devices())
        raise UsageError(
            f"There is no device '{name}' for this torch ({torch.__version__}); it has {there}."
        ) from error


def on_cpu():
    return settled().type == "cpu"


def _module():
    """What torch has for the kind of device: `torch.cuda` (NVIDIA, and AMD by ROCm), `torch.mps`, `torch.xpu`."""
    return torch.get_device_module(settled().type)


def is_cuda(tensor):
    return tensor.device.type == "cuda"


def devices():
    """All that this torch can use, the GPUs first: [{"name", "device", "memory_bytes", "bfloat16"}]."""
    found = []
    for kind in ("cuda", "xpu"):
        module = getattr(torch, kind)
        for index in range(module.device_count() if module.is_available() else 0):
            about = module.get_device_properties(index)
            fast = kind == "xpu" or torch.cuda.get_device_capability(index) >= (8, 0)
            found.append(row(f"{kind}:{index}", about.name, about.total_memory, fast))
    if torch.backends.mps.is_available():
        found.append(row("mps", "Apple GPU", torch.mps.recommended_max_memory(), False))
    return [*found, row("cpu", f"CPU, {torch.get_num_threads()} threads", None, _cpu_has_bfloat16())]


def row(name, device, memory, bfloat16):
    return {"name": name, "device": device, "memory_bytes": memory, "bfloat16": bfloat16}


def _own():
    """The row of `devices` that Keras uses; of several of a kind the first, where the user named none."""
    own = settled()
    names = {own.type, f"{own.type}:{own.index or 0}"}
    return next(row for row in devices() if row["name"] in names)


def device():
    return _own()["device"]


def fast_bfloat16():
    return _own()["bfloat16"]


def _cpu_has_bfloat16():
    if sys.platform == "darwin":
        return False
    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("amx_bf16") or capabilities.get("avx512_bf16"))


# What the processor's allocator, C++, cuBLAS and cuDNN say of it.
FULL_MEMORY = (
    "can't allocate memory", "not enough memory", "std::bad_alloc", "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
)  # fmt: skip


def out_of_memory(error):
    # The processor's allocator has no exception of its own; a layer's error may be Keras' copy with the same text.
    return isinstance(error, torch.OutOfMemoryError) or (
        isinstance(error, RuntimeError) and any(words in str(error) for words in FULL_MEMORY)
    )


def accelerated():
    return not on_cpu()


def memory():
    if on_cpu():
        return None
    total = _own()["memory_bytes"]
    if settled().type == "mps":
        return {"peak": torch.mps.driver_allocated_memory(), "total": total, "free": total}
    module = _module()
    # What torch keeps for the next array is as good as free.
    kept = module.memory_reserved(settled()) - module.memory_allocated(settled())
    return {
        "peak": module.max_memory_allocated(settled()),
        "total": total,
        "free": module.mem_get_info(settled())[0] + kept,
    }


def synchronize():
    if not on_cpu():
        _module().synchronize()
