"""Ranks: processes that share one piece of work, each with a device of its own. Nothing else in kstyle knows of them.

torchrun starts them and tells each its number (RANK), how many there are (WORLD_SIZE) and its number on its machine
(LOCAL_RANK). A process that was started alone is rank 0 of 1: then no function here loads a framework or waits, and
each gives back what it was given.

Two groups connect the ranks. What belongs to a step goes between devices, by NCCL between GPUs and by gloo between
processors, and nobody waits longer than `PATIENCE` for it. All else is small, goes between processors by gloo, and is
waited for as long as it takes: an evaluation or a download of one rank is not its death. A rank that ended ends both at
once, because its connections close.
"""

import contextlib
import datetime
import json
import os

import numpy as np

from kstyle.errors import KStyleError, UsageError

# Seconds for which a rank waits for the others within a step: one that hangs ends all of them within a minute.
PATIENCE = 50
# And between steps, where a closed connection is all that ends the wait.
LONG = datetime.timedelta(days=7)

# What `join` makes, for what belongs to a step: between devices, and between processors. Torch's own first group is for
# all else.
_steps = _soon = None


class Lost(KStyleError):
    """Another rank has ended, or has not answered for `PATIENCE` seconds. Exit code 1."""


def rank() -> int:
    """The number of this process, from 0; 0 is the one that writes and speaks."""
    return int(os.environ["RANK"]) if world() > 1 else 0


def world() -> int:
    """How many ranks there are, 1 without torchrun.

    >>> world()
    1
    """
    return int(os.environ.get("WORLD_SIZE") or 1) if "RANK" in os.environ else 1


def local_rank() -> int:
    """The number of this process on its machine, from 0."""
    return int(os.environ.get("LOCAL_RANK") or rank()) if world() > 1 else 0


def local_world() -> int:
    """How many ranks share this machine."""
    return int(os.environ.get("LOCAL_WORLD_SIZE") or 1) if world() > 1 else 1


def first() -> bool:
    return rank() == 0


def share(count: int) -> slice:
    """Which of `count` things in a row are this rank's: as many as the others', or one more or less; perhaps none."""
    return slice(count * rank() // world(), count * (rank() + 1) // world())


def join() -> None:
    """Connects this process with the other ranks. Alone, or connected already, it does nothing.

    Raises:
        UsageError: the backend is not torch, or this rank has no GPU where others would have one.
        Lost: the others are not there.
    """
    global _steps, _soon
    if world() == 1 or _steps is not None:
        return
    from kstyle import backend

    if backend.NAME != "torch":
        raise UsageError(
            f"{world()} ranks (torchrun, WORLD_SIZE) need the backend torch, and this is {backend.NAME}: set "
            "KERAS_BACKEND=torch, or start one process."
        )
    import torch
    from torch import distributed

    from kstyle.backend import torch_device

    cuda = torch_device.settled().type == "cuda"
    if cuda:
        if torch.cuda.device_count() <= local_rank():
            raise UsageError(f"Rank {rank()}: GPU number {local_rank()} of {torch.cuda.device_count()} is not there.")
        torch.cuda.set_device(local_rank())
    patience = datetime.timedelta(seconds=PATIENCE)
    with _with_others():
        distributed.init_process_group("gloo", timeout=LONG)
        _soon = distributed.new_group(backend="gloo", timeout=patience)
        _steps = distributed.new_group(backend="nccl", timeout=patience) if cuda else _soon


def joined() -> bool:
    """Whether there are other ranks and this one is connected with them."""
    return _steps is not None


def silent() -> bool:
    """Whether this process works together with other ranks, and is not the one that writes and speaks."""
    return joined() and not first()


def leave() -> None:
    """The ranks' common work is done: waits for the others, then ends the connections."""
    global _steps, _soon
    if _steps is None:
        return
    from torch import distributed

    barrier()
    distributed.destroy_process_group()
    _steps = _soon = None


@contextlib.contextmanager
def among_ranks():
    """`with among_ranks():` this process is connected with the other ranks. An error leaves it so: the others are then
    elsewhere in their work, and this process is about to end."""
    join()
    yield
    leave()


@contextlib.contextmanager
def _with_others():
    try:
        yield
    except RuntimeError as error:  # torch's own error for this is one of these
        raise Lost(f"Rank {rank()} of {world()}: another rank has ended or does not answer.") from error


def sum_of(tensors):
    """The sums of the ranks' tensors, in one exchange: all of them travel as one flat buffer.

    Args:
        tensors: a list of the backend's tensors, in shapes and order the same on every rank.

    Returns:
        A list of tensors of the same shapes and layouts, at least float32; alone, the list itself. All ranks get the
        same bits.

    Raises:
        Lost: another rank is gone.
    """
    if world() == 1 or not tensors:
        return tensors
    import torch
    from torch import distributed

    with torch.no_grad():
        dtype = torch.float64 if any(t.dtype == torch.float64 for t in tensors) else torch.float32
        # In the order of the shape and not of the memory: kernels may lie otherwise there (`lay_out_kernel`).
        flat = torch.cat([t.detach().reshape(-1).to(dtype) for t in tensors])
        with _with_others():
            distributed.all_reduce(flat, group=_steps)
        parts = flat.split([t.numel() for t in tensors])
        return [torch.empty_like(t, dtype=dtype).copy_(part.view(t.shape)) for t, part in zip(tensors, parts)]


def rows_of_all(tensor):
    """A tensor whose rows come from all ranks, in one exchange. On each rank all rows but those of `share` are zeros;
    the precision stays what it is, bytes too."""
    if joined():
        from torch import distributed

        with _with_others():
            distributed.all_reduce(tensor, group=_steps)
    return tensor


def added(array: np.ndarray) -> np.ndarray:
    """The sum of the ranks' arrays, on every rank with the same bits, however long the others take to have theirs. All
    give one of the same shape, float32 or float64."""
    if not joined():
        return array
    import torch
    from torch import distributed

    total = torch.from_numpy(np.array(array, order="C"))
    with _with_others():
        distributed.all_reduce(total)
    return total.numpy()


def from_first(array: np.ndarray) -> np.ndarray:
    """The first rank's array, on every rank. All give one of the same shape and type."""
    if world() == 1:
        return array
    import torch
    from torch import distributed

    sent = np.array(array, order="C")
    with _with_others():  # as bytes, so that every type of NumPy's travels
        distributed.broadcast(torch.from_numpy(sent.reshape(-1).view(np.uint8)), 0)
    return sent


def told_by_first(value):
    """The first rank's value, of what JSON can hold, on every rank. What the others give does not matter."""
    if world() == 1:
        return value
    text = np.frombuffer(json.dumps(value).encode(), np.uint8) if first() else np.zeros(0, np.uint8)
    length = int(from_first(np.array([len(text)], "int64"))[0])
    return json.loads(from_first(text if first() else np.zeros(length, np.uint8)).tobytes())


def any_of(*flags: bool) -> list[bool]:
    """Of each flag, whether it is true on some rank, within a step: the GPUs' queues are not waited for."""
    return [bool(flag) for flag in flags] if world() == 1 else _any_of(flags, _soon)


def barrier() -> None:
    """Waits, however long it takes, until every rank is here."""
    if joined():
        _any_of([False], None)


def _any_of(flags, group):
    import torch
    from torch import distributed

    found = torch.tensor([bool(flag) for flag in flags], dtype=torch.uint8)
    with _with_others():
        distributed.all_reduce(found, distributed.ReduceOp.MAX, group=group)
    return [bool(flag) for flag in found.tolist()]


# Within `together`: 1 where this rank's part of a batch counts in the statistics of batch normalisation, which are then
# those of all ranks' parts; 0 where it has none and only takes part in the exchange. None: each rank has its own.
counted = None


@contextlib.contextmanager
def together(counts: bool):
    """Within it, batch normalisation in training is synchronised; `counts`: whether this rank's pictures count."""
    global counted
    counted = int(counts)
    try:
        yield
    finally:
        counted = None


def in_turn(work):
    """`work()` on the first rank of each machine, then on the others, which find what the first has downloaded or
    decoded. Returns what it returned."""
    if world() == 1:
        return work()
    found = work() if local_rank() == 0 else None
    barrier()
    return found if local_rank() == 0 else work()


def over_devices(count: int) -> None:
    """JAX's way, which needs no ranks: from now on Keras divides batches over the first `count` devices of this process
    (`keras.distribution.DataParallel`). Before a model is built.

    Raises:
        UsageError: there are not so many.
    """
    import keras

    devices = keras.distribution.list_devices()
    if len(devices) < count:
        raise UsageError(
            f"--devices {count}: JAX sees {len(devices)} (on a processor as many as XLA_FLAGS="
            f"--xla_force_host_platform_device_count={count} says)."
        )
    keras.distribution.set_distribution(
        keras.distribution.DataParallel(devices=devices[:count], auto_shard_dataset=False)
    )


def divided(batch):
    """A batch, in a compiled step, divided over the devices that `over_devices` or the user named; what they compute of
    it is what one computes, batch normalisation included. Without such it is the batch itself, and so is one whose
    count the devices do not divide."""
    import keras

    chosen = keras.distribution.distribution()
    if chosen is None or batch.shape[0] % chosen.device_mesh.shape[0]:
        return batch
    return keras.distribution.distribute_tensor(batch, chosen.get_data_layout(batch.shape))
