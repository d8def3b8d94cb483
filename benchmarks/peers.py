"""Peak memory of the preset `gatys` and of the program it is named after, from the same pixels, in float32.

    python benchmarks/peers.py [--size 256 --size 384 --size 512] [--steps 120] [--program kstyle …] [--json]

"authors" follows the published notebook (leongatys/PytorchNeuralStyleTransfer, NeuralStyleTransfer.ipynb) step by step:
the whole of VGG19, convolutions and ReLUs with an output each, every layer kept until the step is over, the losses' own
modules, `torch.optim.LBFGS` as it comes (a hundred pairs, twenty evaluations a call, no line search). "kstyle" is what
`kstyle stylize --preset gatys` runs at one size, without reading and writing files.

Each program and size has a process of its own. Memory is the peak above imports and weights, a hundred pairs being
full after 101 steps: with fewer, less. Both losses are given, since only programs that do the same work can be
compared: the first must agree. Nothing is timed: see style.py.
"""

import json
import multiprocessing
import os

import click
import numpy as np
import style as by_step

from kstyle.pictures import images


def authors(size, steps):
    """The notebook's structure, in our words."""
    import torch
    from torch import nn

    depths = (2, 2, 4, 4, 4)
    names, arrays = by_step._weights(depths)
    layers = {}
    for name in names:
        kernel = torch.from_numpy(np.ascontiguousarray(arrays.pop(f"{name}/kernel").transpose(3, 2, 0, 1)))
        layers[name] = nn.Conv2d(*kernel.shape[1::-1], 3, padding=1)
        layers[name].load_state_dict({"weight": kernel, "bias": torch.from_numpy(arrays.pop(f"{name}/bias"))})
        layers[name].requires_grad_(False)
    del kernel
    baseline = by_step._in_use()

    def network(x, wanted):
        found = {}
        for block, depth in enumerate(depths, 1):
            for i in range(1, depth + 1):
                x = found[f"r{block}{i}"] = nn.functional.relu(layers[f"block{block}_conv{i}"](x))
            x = found[f"p{block}"] = nn.functional.max_pool2d(x, 2, 2)
        return [found[key] for key in wanted]

    def gram(f):
        batch, channels, height, width = f.shape
        f = f.view(batch, channels, height * width)
        return torch.bmm(f, f.transpose(1, 2)).div_(height * width)

    def prepared(rgb):
        mean = torch.tensor([103.939, 116.779, 123.68])[:, None, None]
        return (torch.from_numpy(rgb.transpose(2, 0, 1)[::-1].copy()) * 255 - mean)[None]

    content, painting = map(prepared, pictures(size))
    image = content.clone().requires_grad_()
    styles, goal = [f"r{block}1" for block in range(1, 6)], ["r42"]
    weights = [1e3 / channels**2 for channels in (64, 128, 256, 512, 512)] + [1.0]
    targets = [gram(f).detach() for f in network(painting, styles)] + [f.detach() for f in network(content, goal)]
    optimizer, losses = torch.optim.LBFGS([image]), []
    each = optimizer.param_groups[0]["max_iter"]

    def closure():
        optimizer.zero_grad()
        found = network(image, styles + goal)
        found = [gram(f) for f in found[:-1]] + found[-1:]
        loss = sum(w * nn.functional.mse_loss(f, t) for w, f, t in zip(weights, found, targets))
        loss.backward()
        losses.append(loss.item())
        return loss

    while len(losses) < steps:
        optimizer.param_groups[0]["max_iter"] = min(each, steps - len(losses))
        optimizer.step(closure)
    return losses, by_step._peak() - baseline


def with_kstyle(size, steps):
    from kstyle import backend
    from kstyle.models import features
    from kstyle.style import settings
    from kstyle.style.engine import loop, painting
    from kstyle.style.objectives import objective, targets
    from kstyle.style.passes import units

    preset = settings.load("gatys")
    extractor = features.load("vgg19", preset.taps, precision="float32")
    baseline = by_step._in_use()
    content, style = pictures(size)
    backend.configure(False, content.shape[0] * content.shape[1])
    style_target = targets.style_targets(extractor, preset, [style], [1.0])
    aims = targets.content_targets(extractor, preset, content)
    loss = objective.Objective(extractor, preset, aims, style_target)
    canvas = loop.Canvas(units.to_space(content, preset.space), preset, painting.make_optimizer(preset))
    rows = loop.run(loop.Course(canvas, steps), loss)
    return [row["loss"] for row in rows], by_step._peak() - baseline


PROGRAMS = {"authors": authors, "kstyle": with_kstyle}


def pictures(size):
    """Content and style, (H, W, 3) float32 in [0, 1], long side `size`, 4:3, as files of bytes hold them."""
    read = [
        images.resize(images.read(by_step.EXAMPLES / name).rgb, (size * 3 // 4, size))
        for name in ("chelsea.jpg", "night.jpg")
    ]
    return [np.round(np.clip(rgb, 0, 1) * 255).astype("float32") / 255 for rgb in read]


def serve(pipe, name, size, steps):
    """A process: sends one row."""
    losses, peak = PROGRAMS[name](size, steps)
    row = {"program": name, "size": size, "steps": steps, "megabytes": peak / 1e6}
    pipe.send({**row, "first": losses[0], "best": min(losses)})


def measure(name, size, steps):
    context = multiprocessing.get_context("spawn")
    pipe, theirs = context.Pipe(False)
    process = context.Process(target=serve, args=(theirs, name, size, steps), daemon=True)
    process.start()
    theirs.close()
    try:
        row = pipe.recv()
    except EOFError:
        raise click.ClickException(f"{name} at {size} px ended without a result.") from None
    process.join()
    return row


@click.command()
@click.option("--size", "sizes", multiple=True, default=(256, 384, 512), show_default=True, help="Long side, 4:3.")
@click.option("--steps", default=120, show_default=True)
@click.option("--program", "names", multiple=True, type=click.Choice(list(PROGRAMS)), help="Default: both.")
@click.option("--json", "as_json", is_flag=True, help="One line of JSON instead of a table.")
def main(sizes, steps, names, as_json):
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ["KERAS_BACKEND"] = "torch"
    rows = []
    for size in sizes:
        found = [measure(name, size, steps) for name in names or PROGRAMS]
        if max(row["first"] for row in found) > (1 + by_step.TOLERANCE["float32"]) * min(row["first"] for row in found):
            raise click.ClickException(f"Not the same work: first losses {[row['first'] for row in found]}.")
        rows += found
        if not as_json:
            for row in found:
                click.echo(
                    f"{size:5} px  {row['program']:8} {row['megabytes']:7.0f} MB, of the first of these "
                    f"{row['megabytes'] / found[0]['megabytes']:.2f}  loss {row['first']:.4g} to {row['best']:.4g}"
                )
    if as_json:
        click.echo(json.dumps(rows))


if __name__ == "__main__":
    main()
