"""Time to a loss: how soon the preset `kstyle` paints what `gatys` would have accepted after all of its steps.

    python benchmarks/style_time.py [--size 512] [--pairs CONTENT STYLE …] [--data FOLDER] [-o out/style_time] [--json]

For each pair `gatys` runs to its end; the loss of the finished picture by gatys' own objective, in float32, is the
goal. Then the other preset runs. Every few steps at the final size that objective judges the picture so far, of both,
the clock stopped meanwhile, and the times are those at which it was first at the goal. They count from the call on,
loading of the network included. A line of JSON a pair is appended to `results.jsonl` in the output folder, and a pair
that is there already is not run again; the pictures lie beside it.

`kstyle` minimises another objective, with other weights. What its way of minimising is worth, the sizes, the short
memory and the clamp, is told by gatys' objective minimised so:

    python benchmarks/style_time.py --name coarse-to-fine --preset gatys --set scales.smallest=128 \\
        --set 'scales.steps=[70,100,130]' --set scales.margin=16 --set 'clamp=[0,255]' --set optimizer.history=10 \\
        --set optimizer.max_step=13

`--goal history` takes the last loss that gatys saw while it ran, in its own precision: it lets pixels leave what a file
can hold, so that this is below the loss of the finished picture, and gatys' time is then that of its end.
"""

from kstyle import backend  # isort: skip  # first: it settles what Keras runs on

import json
import math
import time
from pathlib import Path

import click
import keras
import yaml

import kstyle
from kstyle.models import features
from kstyle.pictures import images
from kstyle.style import settings as style_settings
from kstyle.style.objectives import objective, targets
from kstyle.style.passes import sizes, units

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
# (content, style) in the folders content/ and style/ of --data.
PAIRS = [
    ("tuebingen.jpg", "starry_night.jpg"),
    ("golden_gate.jpg", "the_scream.jpg"),
    ("newyork.jpg", "composition_vii.jpg"),
    ("sailboat.jpg", "shipwreck.jpg"),
    ("stata.jpg", "wave.jpg"),
    ("cornell.jpg", "brushstrokes.jpg"),
]
FREE = [("chelsea", "night"), ("astronaut", "glass"), ("rocket", "wave"), ("coffee", "night")]


def judge(extractor, settings, content, style, size):
    """Gatys' objective at a size: `rgb (H, W, 3) -> {"loss", "content", "style"}`, floats."""
    content, style = images.read(content), images.read(style)
    shape = sizes.plan(settings, content, size, None)[-1].shape
    scene = images.resize_picture(content, shape).rgb
    painting = images.resize_picture(style, sizes.of_style(settings.style, style, shape)).rgb
    loss = objective.Objective(
        extractor,
        settings,
        targets.content_targets(extractor, settings, scene),
        targets.style_targets(extractor, settings, [painting], [1.0]),
    )
    evaluate = backend.compile(loss, [])

    def found(rgb):
        total, parts = evaluate(keras.ops.convert_to_tensor(units.to_space(rgb, settings.space)))
        return {k: float(keras.ops.convert_to_numpy(v)) for k, v in {"loss": total, **parts}.items()}

    return found


def run(content, style, size, preset, steps, overrides, every, evaluate):
    """What a preset did: its seconds, steps, finished loss and terms, its last loss as it saw it ("seen"), and
    [[seconds, loss of the picture so far], …]; and the picture."""
    curve, stopped = [], 0.0
    began = time.perf_counter()

    def look(step):
        nonlocal stopped
        # From the end backwards, so that the finished picture is looked at.
        if step.scale != size or (step.total - 1 - step.step) % every:
            return
        backend.synchronize()
        now = time.perf_counter()
        curve.append([now - began - stopped, evaluate(step.image())["loss"]])
        stopped += time.perf_counter() - now

    result = kstyle.stylize(content, style, preset=preset, size=size, steps=steps, callback=look, **overrides)
    backend.synchronize()
    seconds = time.perf_counter() - began - stopped
    seen = float(result.history["loss"].iloc[-1])
    found = {"seconds": seconds, "steps": len(result.history), "seen": seen, **evaluate(result.rgb), "curve": curve}
    return found, result


def measure(extractor, settings, content, style, options):
    """A row of the results, and {name: picture}."""
    size, every = options["size"], options["every"]
    evaluate = judge(extractor, settings, content, style, size)
    gatys, theirs = run(content, style, size, "gatys", options["gatys_steps"], {}, every, evaluate)
    ours, painted = run(content, style, size, options["preset"], None, options["overrides"], every, evaluate)
    row = {
        "content": Path(content).stem, "style": Path(style).stem, **options, "gatys": gatys, "ours": ours,
        "precision": painted.settings["precision"], "device": backend.device(), "versions": backend.versions(),
    }  # fmt: skip
    return row, {"gatys": theirs.rgb, options["name"]: painted.rgb}


def reached(run, goal):
    """Seconds at which a run's picture was at the goal or below, None where it never was."""
    return next((seconds for seconds, loss in run["curve"] if loss <= goal), None)


def table(rows, goal, within):
    name = rows[0]["name"]
    lines = [
        f"| pair | gatys | {name} | ratio | {name}, to its end | its loss / goal | content / gatys' | style / gatys' |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    ratios, finals = [], []
    for row in rows:
        gatys, ours = row["gatys"], row["ours"]
        loss = within * gatys["loss" if goal == "finished" else "seen"]
        theirs = reached(gatys, loss) or gatys["seconds"]
        seconds = reached(ours, loss)
        finals.append(ours["loss"] / loss)
        if seconds is not None:
            ratios.append(seconds / theirs)
        cells = [
            f"{row['content']} × {row['style']}", f"{theirs:.1f} s", f"{seconds:.1f} s" if seconds else "not reached",
            f"{ratios[-1]:.2f}" if seconds else "", f"{ours['seconds']:.1f} s", f"{finals[-1]:.2f}",
            *(f"{ours[part] / gatys[part]:.2f}" for part in ("content", "style")),
        ]  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    mean = f"{_geometric(ratios):.2f} ({len(ratios)} of {len(rows)} reached)" if ratios else "none reached"
    lines.append(f"| geometric mean | | | {mean} | | {_geometric(finals):.2f} | | |")
    return "\n".join(lines)


def _geometric(values):
    return math.exp(sum(map(math.log, values)) / len(values))


def default_pairs(data):
    if Path(data).is_dir():
        return [(f"{data}/content/{content}", f"{data}/style/{style}") for content, style in PAIRS]
    click.echo(f"There is no folder {data}: the pictures in examples/ are taken.", err=True)
    return [(f"{EXAMPLES}/{content}.jpg", f"{EXAMPLES}/{style}.jpg") for content, style in FREE]


def read_rows(path):
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


@click.command()
@click.option("--pairs", nargs=2, multiple=True, metavar="CONTENT STYLE", help="Repeatable.  [default: six of --data]")
@click.option("--data", default="../shared/data/style", show_default=True, help="Folder with content/ and style/.")
@click.option("--size", default=512, show_default=True)
@click.option("--preset", default="kstyle", show_default=True, help="What is measured against gatys.")
@click.option("--name", help="Of it, in the table and the pictures.  [default: the preset's]")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="A setting of that preset.")
@click.option("--gatys-steps", type=int, help="Instead of gatys' own, for a try.")
@click.option("--every", default=5, show_default=True, help="Steps between two looks.")
@click.option("--goal", type=click.Choice(["finished", "history"]), default="finished", show_default=True)
@click.option("--within", default=1.0, show_default=True, help="What the goal is multiplied by.")
@click.option("-o", "--output", default="out/style_time", show_default=True, type=click.Path(file_okay=False))
@click.option("--json", "as_json", is_flag=True, help="One line of JSON instead of a table.")
def main(pairs, data, size, preset, name, overrides, gatys_steps, every, goal, within, output, as_json):
    name = name or preset
    if name == "gatys":
        raise click.UsageError("gatys against gatys: give it another --name.")
    overrides = {key: yaml.safe_load(value) for key, _, value in (item.partition("=") for item in overrides)}
    options = {
        "size": size, "name": name, "preset": preset, "overrides": overrides, "gatys_steps": gatys_steps, "every": every
    }  # fmt: skip
    folder = Path(output)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "results.jsonl"
    settings, rows = style_settings.load("gatys"), []
    extractor = None
    for content, style in pairs or default_pairs(data):
        key = {"content": Path(content).stem, "style": Path(style).stem, **options}
        row = next((row for row in read_rows(path) if key.items() <= row.items()), None)
        if row is None:
            extractor = extractor or features.load("vgg19", settings.taps, precision="float32")
            row, pictures = measure(extractor, settings, content, style, options)
            for what, rgb in pictures.items():
                images.write(folder / f"{key['content']}-{key['style']}-{size}-{what}.png", rgb)
            with open(path, "a") as lines:
                lines.write(json.dumps(row) + "\n")
        click.echo(f"{key['content']} × {key['style']}: done", err=True)
        rows.append(row)
    if as_json:
        click.echo(json.dumps({"device": backend.device(), "goal": goal, "within": within, "rows": rows}))
    else:
        click.echo(f"{rows[0]['device']}, {rows[0]['precision']}, {size} px")
        click.echo(table(rows, goal, within))


if __name__ == "__main__":
    main()
