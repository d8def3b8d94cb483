"""How many kernels a GPU would have to launch for a step, and Python's time for it: kstyle beside PyTorch by hand.

    python benchmarks/launches.py [--json]

At 256 to 512 pixels a step on a GPU takes as long as it takes to launch its kernels. They are counted here without one,
on a device that does not exist (tests/spare_device.py). Python's time is that of a step whose arithmetic is next to
nothing: a network of a sixteenth of the channels, pictures of 32 pixels, on the processor.
"""

import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "tests"), str(HERE)]
WARM, SIDE = 3, 32


def counted(step):
    """Kernels of one step, after some."""
    from spare_device import seen

    for _ in range(WARM):
        step()
    seen.clear()
    step()
    return sum(seen.launches.values())


def timed(step):
    """Milliseconds of a step: the least of ten medians."""
    for _ in range(WARM):
        step()
    medians = []
    for _ in range(10):
        taken = []
        for _ in range(10):
            began = time.perf_counter()
            step()
            taken.append(time.perf_counter() - began)
        medians.append(statistics.median(taken))
    return 1000 * min(medians)


def cases(device):
    """{name: (step of kstyle's, step by hand)}, on a device of torch."""
    import numpy as np
    import style
    import torch
    import train_step

    from kstyle import backend
    from kstyle.models import features, weights
    from kstyle.models.networks import feature_layers, vgg
    from kstyle.style import settings
    from kstyle.style.engine import loop
    from kstyle.style.objectives import objective, targets
    from kstyle.style.passes import units

    rng = np.random.default_rng(0)
    photo, painting = (rng.random((SIDE, SIDE, 3), "float32") for _ in range(2))
    vgg.filters = lambda name: feature_layers.filters(name) // 16
    # The device that is none lays gradients out as the processor does, which torch's own `view` refuses.
    torch.optim.LBFGS._gather_flat_grad = lambda self: self._params[0].grad.reshape(-1)
    style._torch = lambda: (torch, device)

    def arrays(names):
        found, channels = {}, 3
        for name in names:
            width = feature_layers.filters(name) // 16
            found[f"{name}/kernel"] = rng.normal(0, (2 / 9 / channels) ** 0.5, (3, 3, channels, width)).astype(
                "float32"
            )
            found[f"{name}/bias"] = np.zeros(width, "float32")
            channels = width
        return found

    style._weights = lambda blocks: (
        names := [f"block{b}_conv{i}" for b, n in enumerate(blocks, 1) for i in range(1, n + 1)], arrays(names)
    )  # fmt: skip

    def filled(model, *_):
        own = {layer.name: layer for layer in model.layers if layer.weights}
        found = arrays(own)
        for name, layer in own.items():
            layer.set_weights([found[f"{name}/kernel"], found[f"{name}/bias"]])
        return weights.File(None, "random", "")

    features._filled = filled

    def painted(optimizer):
        checked = settings.load("gatys", {"optimizer": optimizer})
        extractor = features.load("vgg19", checked.taps)
        backend.configure(False, photo.size // 3)
        aims = targets.content_targets(extractor, checked, photo)
        loss = objective.Objective(extractor, checked, aims, targets.style_targets(extractor, checked, [painting], [1]))
        made = style_optimizer(checked)
        canvas = loop.Canvas(units.to_space(photo, checked.space), checked, made)
        gradient = backend.value_and_grad(loss)
        return backend.compile(lambda: canvas.step(gradient), canvas.variables)

    def style_optimizer(checked):
        from kstyle.nn import optimizers

        return optimizers.make(checked.optimizer.name, **checked.optimizer.arguments)

    def trained(recipe, model, optimizer, side, channels):
        images = torch.tensor(rng.integers(0, 256, (8, side, side, channels), np.uint8)).to(device)
        labels = torch.tensor(rng.integers(0, 10, 8)).to(device)
        own = train_step.with_kstyle(recipe, side, channels, "float32")
        model = model.to(device)
        hand = train_step.by_hand(model, optimizer(model.parameters()), False)
        return lambda: own(images, labels), lambda: hand(images, labels)

    # On a GPU torch updates all parameters at once by itself; here it has to be told.
    def sgd(parameters):
        return torch.optim.SGD(parameters, 0.08, 0.9, weight_decay=1e-3, nesterov=True, foreach=True)

    def adam(parameters):
        return torch.optim.Adam(parameters, foreach=True)

    backend.configure(False)
    return {
        "style, Adam": (
            painted({"name": "torch-adam", "learning_rate": 1.0}), style.by_hand("float32", False)(photo, painting)
        ),
        "style, L-BFGS": (
            painted({"name": "lbfgs", "history": 100}), style.by_hand("float32", False, lbfgs=True)(photo, painting)
        ),
        "training, mnist_cnn, Adam": trained("mnist_cnn", train_step.torch_mnist(), adam, 28, 1),
        "training, cifar10_vgg19, SGD": trained("cifar10_vgg19", train_step.torch_vgg(), sgd, 32, 3),
    }  # fmt: skip


def main(what):
    if what == "count":
        import spare_device

        import kstyle  # noqa: F401

        spare_device.pretend()
        measure, device = counted, spare_device.DEVICE
    else:
        import torch

        measure, device = timed, torch.device("cpu")
    print(json.dumps({name: [measure(own), measure(hand)] for name, (own, hand) in cases(device).items()}))


if __name__ == "__main__":
    if sys.argv[1:] in (["count"], ["time"]):
        main(sys.argv[1])
    else:
        found = {}
        for what in ("count", "time"):
            done = subprocess.run([sys.executable, __file__, what], stdout=subprocess.PIPE, text=True, check=True)
            found[what] = json.loads(done.stdout.splitlines()[-1])
        if "--json" in sys.argv:
            print(json.dumps(found))
        else:
            print("| step | kernels, kstyle | by hand | ratio | Python, ms, kstyle | by hand | ratio |")
            print("| --- | --- | --- | --- | --- | --- | --- |")
            for name, (own, hand) in found["count"].items():
                ms, hand_ms = found["time"][name]
                print(f"| {name} | {own} | {hand} | {own / hand:.2f} | {ms:.1f} | {hand_ms:.1f} | {ms / hand_ms:.2f} |")
