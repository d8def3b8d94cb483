"""Memory that is full: one line that says what would fit, and batches that hold few decoded pictures."""

import numpy as np
import pytest
from batches import STYLE, picture, summary

import kstyle
from kstyle import backend
from kstyle.errors import DataError
from kstyle.pictures import images
from kstyle.style import transfer
from kstyle.style.engine import loop
from kstyle.style.jobs import batch
from kstyle.training import course

# What each framework raises, as seen of it.
FULL = {
    "torch": RuntimeError(
        "Exception encountered when calling Pool2D.call().\n\n[enforce fail at alloc_cpu.cpp:124] err == 0. "
        "DefaultCPUAllocator: can't allocate memory: you tried to allocate 1073741824 bytes. Error code 12"
    ),
    "jax": RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 1073741824 bytes."),
}


def full():
    if backend.NAME == "tensorflow":
        import tensorflow as tf

        return tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor")
    return FULL[backend.NAME]


def test_what_counts_as_full():
    """Failure: another error is taken for a want of memory, and hidden behind advice on sizes."""
    assert backend.out_of_memory(full()) and backend.out_of_memory(MemoryError())
    if backend.NAME == "torch":
        assert backend.out_of_memory(RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate"))
    assert not backend.out_of_memory(RuntimeError("shapes (3, 4) and (5, 6) do not match"))


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_painting_that_is_too_large(place, monkeypatch, precision):
    """Failure: 'unexpected RuntimeError: … Pool2D.call()' where one line could say which size fits."""
    preset = str(place / "shallow.yaml")
    painter = transfer.Painter(
        STYLE, preset, precision=precision, **{"scales.smallest": 64, "scales.factor": 2, "scales.steps": [1, 1]}
    )
    run = loop.run

    def at(side):
        def full_from(course, *arguments):
            if max(course.canvas.shape) - 2 * course.canvas.margin >= side:
                raise full()
            return run(course, *arguments)

        monkeypatch.setattr(loop, "run", full_from)

    content = np.full((96, 128, 3), 0.5, "float32")
    at(128)
    with pytest.raises(DataError, match=r"^array: at 128×96 a step takes more memory .*: --size 64 fits") as caught:
        painter.paint(content, 128)
    assert ("bfloat16" in str(caught.value)) == (precision == "float32")
    at(0)
    with pytest.raises(DataError, match="try --size 32, a quarter"):
        painter.paint(content, 128)


def test_a_training_that_is_too_large(tmp_path, monkeypatch):
    """Failure: a batch that does not fit ends in a traceback of the framework's allocator."""

    def fit(*_, **__):
        raise full()

    monkeypatch.setattr(course, "fit", fit)
    with pytest.raises(DataError, match=r"more memory than there is: a smaller batch .*accumulate=2"):
        kstyle.train("digits_cnn", run=tmp_path / "run")


def test_few_decoded_pictures_wait(run, monkeypatch):
    """Failure: 64 photographs of 9 megapixels wait for others of their shape: 11 GB."""
    monkeypatch.setattr(batch, "MOST_WAITING", 3 * 36 * 28 * 3 * 4)
    for number in range(9):  # of three shapes, so that none is full before the memory is
        picture(f"in/{number}.png", seed=number, size=((36, 28), (28, 36), (36, 36))[number % 3])
    held, bytes_of = [], batch._bytes
    monkeypatch.setattr(batch, "_bytes", lambda waiting: held.append(len(waiting)) or bytes_of(waiting))
    code, got = summary(run("in", "--json", "--together", "4"))
    assert (code, got["done"]) == (0, 9)
    assert max(held) < 4


@pytest.mark.parametrize("together", [1, 2])
def test_a_picture_that_is_too_large_to_decode(run, monkeypatch, together):
    """Failure: 'unexpected MemoryError' of one picture of a folder, where one line could say what is the matter."""
    picture("in/a.png")
    monkeypatch.setattr(images, "read", lambda source, read=images.read: read(source) if source == STYLE else fail())

    def fail():
        raise MemoryError("Unable to allocate 3.2 GiB")

    code, got = summary(run("in", "--json", "--together", together))
    (failed,) = got["failed"]
    assert code == 1 and failed["error"].startswith("takes more memory than there is")


def test_transparency_that_waits_is_counted():
    """Failure: cut-outs take a third more than the bound."""
    waiting = images.Picture(np.zeros((4, 5, 3), "float32"), np.zeros((4, 5), "float32"))
    assert batch._bytes([("a.png", None, waiting, None)]) == 4 * 5 * (3 + 1) * 4
