"""A device that does not exist: what would a GPU have to do?

torch keeps a place for a device that others add. Here it is taken by one whose tensors hold a tensor of the CPU, on
which every operation is really computed, after it was looked at: is something of it on another device? Must the host
wait for the result? How many kernels would be launched? kstyle's code runs on it as it is, and takes it for a GPU.

To be imported before keras, in a process of its own. Only for PyTorch.
"""

import collections
import os
import traceback

NAME = "spare"
os.environ["KERAS_TORCH_DEVICE"] = f"{NAME}:0"
os.environ["KERAS_BACKEND"] = "torch"

import torch  # noqa: E402
from torch.utils import backend_registration  # noqa: E402
from torch.utils._pytree import tree_leaves, tree_map  # noqa: E402

aten = torch.ops.aten

# Their result is a number, or has a shape, that only the device knows. Of others the host may do without.
WAITS = {
    aten._local_scalar_dense, aten.nonzero, aten.nonzero_static, aten.equal, aten.masked_select, aten.bincount,
    aten._unique2, aten.unique_dim, aten.unique_consecutive,
}  # fmt: skip

backend_registration._setup_privateuseone_for_python_backend(NAME)
DEVICE = torch.device(NAME, 0)

# Gradients are computed in the thread that asks for them. A device's own thread would run this file's Python, and if it
# still waits for its turn when the program ends, C++ ends the program with "terminate called".
torch.autograd.set_multithreading_enabled(False)


class Tensor(torch.Tensor):
    """One on the device: says so, and holds one of the CPU."""

    @staticmethod
    def __new__(cls, held):
        return torch.Tensor._make_wrapper_subclass(
            cls, held.shape, strides=held.stride(), storage_offset=held.storage_offset(), dtype=held.dtype,
            layout=held.layout, device=DEVICE, requires_grad=False,
        )  # fmt: skip

    def __init__(self, held):
        self.held = held

    @classmethod
    def __torch_dispatch__(cls, function, types, args=(), kwargs=None):
        return compute(function, args, kwargs or {})


class Seen:
    """What has been seen since `clear`.

    Attributes:
        launches: {operation: how often}, those that a GPU would launch at least one kernel for.
        waits: {(what, where): how often} the host would wait for the device: for a number that it needs to go on, or
            for memory that is copied from one to the other.
        mixed: set of (operation, where) that have tensors of both devices.
    """

    def __init__(self):
        self.clear()

    def clear(self):
        self.launches, self.waits, self.mixed = collections.Counter(), collections.Counter(), set()

    def wait(self, what):
        self.waits[what, _where()] += 1


seen = Seen()


def _where():
    """`style/engine/loop.py:12 in fetch`: the innermost line of kstyle's, but for the seam."""
    own, seam = f"{os.sep}kstyle{os.sep}", f"{os.sep}kstyle{os.sep}backend{os.sep}"
    frames = [frame for frame in traceback.extract_stack() if own in frame.filename and seam not in frame.filename]
    if not frames:
        return "elsewhere"
    return f"{frames[-1].filename.rsplit(f'{os.sep}kstyle{os.sep}', 1)[1]}:{frames[-1].lineno} in {frames[-1].name}"


def _is_view(function):
    """Whether it looks at the same memory in another way: nothing for a device to do."""
    if function.overloadpacket in (aten.squeeze_, aten._has_compatible_shallow_copy_type):
        return True
    returned = function._schema.returns
    return bool(returned) and all(each.alias_info is not None and not each.alias_info.is_write for each in returned)


def compute(function, args, kwargs):
    """Computes an operation on what its tensors hold, and notes what it means for a device."""
    leaves = tree_leaves((args, kwargs))
    ours = [each for each in leaves if isinstance(each, Tensor)]
    others = [each for each in leaves if isinstance(each, torch.Tensor) and not isinstance(each, Tensor)]
    wanted = kwargs.get("device")
    to_device = wanted is not None and torch.device(wanted).type == NAME
    stays = to_device or (wanted is None and bool(ours))
    if ours or to_device:
        _note(function, args, ours, others, wanted, to_device)
    args, kwargs = tree_map(_held, (args, kwargs))
    if to_device:
        kwargs["device"] = "cpu"
    if function is aten.mm.dtype:  # which only CUDA has
        result = (args[0].float() @ args[1].float()).to(args[2])
    else:
        result = function(*args, **kwargs)
    if not stays or function.overloadpacket is aten._local_scalar_dense:
        return result
    known = {id(each.held): each for each in ours}  # what was written in place stays the tensor that it was

    def shown(each):
        if not isinstance(each, torch.Tensor):
            return each
        ours = known[id(each)] if id(each) in known else Tensor(each)
        if ours.shape != each.shape:  # as squeeze_ does
            ours.data = Tensor(each)
        assert ours.shape == each.shape, f"{function} gave a tensor another shape, which is not followed here"
        return ours

    return tree_map(shown, result)


def _held(value):
    return value.held if isinstance(value, Tensor) else value


def _note(function, args, ours, others, wanted, to_device):
    kind = function.overloadpacket
    copies = kind in (aten.copy_, aten._to_copy)
    if kind is aten.copy_ and ours and others:
        seen.wait("upload" if isinstance(args[0], Tensor) else "download")
    elif kind is aten._to_copy and (bool(ours) != to_device) and wanted is not None:
        seen.wait("upload" if to_device else "download")
    elif kind in WAITS or (
        kind in (aten.index, aten.index_put_) and any(each.dtype == torch.bool for each in ours[1:])
    ):
        seen.wait(kind.__name__)
    # A number of the host's, as a tensor without axes, goes along with a launch.
    elif ours and not copies and any(each.ndim for each in others):
        seen.mixed.add((str(function), _where()))
    if not _is_view(function) and kind not in (aten.empty, aten.empty_strided, aten.empty_like, *WAITS):
        seen.launches[str(function)] += 1


# What torch calls for the device itself, below autograd.
_library = torch.library.Library("aten", "IMPL")


def _empty(size, dtype=None, layout=None, device=None, pin_memory=None, memory_format=None):
    return Tensor(torch.empty(size, dtype=dtype, memory_format=memory_format or torch.contiguous_format))


def _empty_strided(size, stride, dtype=None, layout=None, device=None, pin_memory=None):
    return Tensor(torch.empty_strided(size, stride, dtype=dtype))


def _copy_from(source, target, non_blocking=False):
    return compute(aten.copy_.default, (target, source), {})


def _made(name):
    """These make an empty tensor first and then give it a shape, which a `Tensor` cannot have afterwards."""
    overload = getattr(getattr(aten, name.partition(".")[0]), name.partition(".")[2] or "default")

    def make(*args, dtype=None, layout=None, device=None, pin_memory=None, **kwargs):
        kwargs |= {"dtype": dtype, "device": DEVICE}
        return compute(overload, args, {key: value for key, value in kwargs.items() if value is not None})

    return make


for _name in ("eye", "eye.m", "arange", "arange.start", "arange.start_step", "linspace", "randperm.generator"):
    _library.impl(_name, _made(_name), "PrivateUse1")
_library.impl("empty.memory_format", _empty, "PrivateUse1")
_library.impl("empty_strided", _empty_strided, "PrivateUse1")
_library.impl("_copy_from", _copy_from, "PrivateUse1")


def pretend():
    """Has kstyle take the device for a GPU with bfloat16 and 64 GB."""
    from kstyle.backend import torch as own
    from kstyle.backend import torch_device

    module = torch.get_device_module(NAME)
    module.synchronize = lambda *device: None
    module.mem_get_info = lambda *device: (64 << 30, 64 << 30)
    for name in ("memory_reserved", "memory_allocated", "max_memory_allocated"):
        setattr(module, name, lambda *device: 0)
    torch_device.devices = lambda: [torch_device.row(f"{NAME}:0", "no device at all", 64 << 30, True)]
    own.is_cuda = lambda tensor: isinstance(tensor, Tensor)
    generator = torch.Generator
    own.torch.Generator = lambda device=None: generator()
