"""Makes the pictures of docs/presets.md, as small JPEGs, from pictures free of rights.

    python benchmarks/gallery.py [--size 512] [--preset kstyle --preset gatys] [-o docs/pictures]
    python benchmarks/gallery.py --sheets [--size 256] [--pair chelsea night] [--steps N] [-o docs/pictures]

Without `--sheets`: several pairs, each with a few presets. With it: one pair with every preset (or those named), each
with its own steps, on sheets with captions, and a Markdown table of losses and seconds on stdout. What a preset gave is
kept in `--runs`, and a preset that is there already is not run again. The sheets' JPEG quality is what keeps
the output folder below `--megabytes`.
"""

import io
import json
import time
from pathlib import Path

import click
import numpy as np

import kstyle
from kstyle.io.files import replacing
from kstyle.models import weights
from kstyle.pictures import images, sheet

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
PAIRS = [("chelsea", "night"), ("astronaut", "glass"), ("rocket", "wave"), ("coffee", "night")]
# What a preset's header says of Caffe's weights, where those it was published with are not to be had.
OF_CAFFE = {
    "crowson": {"tv.weight": 6600},
    "cs231n": {"style.weight": 0.01, "tv.weight": 5},
    "nst-vgg19": {"style.weight": 3e-10, "tv.weight": 25500, "range.weight": 37000},
    "pystiche": {"style.weight": 0.3},
    "stylemod": {"style.weight": 0.03},
}
A_SHEET, COLUMNS = 12, 4


def read(name):
    return images.read(EXAMPLES / f"{name}.jpg").rgb


def write(folder, name, rgb, shown):
    images.write(folder / f"{name}.jpg", np.clip(images.resize(rgb, images.fit(rgb.shape[:2], shown)), 0, 1))


def pairs(size, shown, presets, folder):
    for name in sorted({name for pair in PAIRS for name in pair}):
        write(folder, name, read(name), shown)
    for content, style in PAIRS:
        for preset in presets:
            start = time.perf_counter()
            result = kstyle.stylize(EXAMPLES / f"{content}.jpg", EXAMPLES / f"{style}.jpg", preset=preset, size=size)
            write(folder, f"{content}-{style}-{preset}", result.rgb, shown)
            first, last = result.history["loss"].iloc[[0, -1]]
            seconds = time.perf_counter() - start
            click.echo(f"{content} × {style} {preset}: loss {first:.4g} → {last:.4g}, {seconds:.0f} s", err=True)


def substitute(preset):
    """{} where the preset's weights are on this machine, else the overrides that take Caffe's; None: neither is."""
    from kstyle.models import registry
    from kstyle.style import settings

    own = settings.load(preset).network.extractor
    for name in dict.fromkeys((own, own.removesuffix("-torchvision"), "vgg19")):
        row, source, _ = registry.extractor(name)
        if own.startswith("squeezenet") and name == "vgg19":
            return None  # which has no such layers
        try:
            weights.obtain(row, source, offline=True)
        except weights.Absent:
            continue
        return {} if name == own else {"network.extractor": name, **OF_CAFFE.get(preset, {})}


def run(preset, content, style, size, limit, runs):
    """One preset: its row, from `runs` if it is there. Its picture lies beside it as a PNG."""
    from kstyle.style import settings

    asked = {"preset": preset, "content": content, "style": style, "size": size, "limit": limit}
    path = runs / f"{preset}.json"
    if path.exists() and (runs / f"{preset}.png").exists():
        row = json.loads(path.read_text())
        if asked.items() <= row.items():
            return row
    overrides = substitute(preset)
    if overrides is None:
        return {**asked, "overrides": None}
    planned = sum(count for _, count in settings.load(preset).scales.plan(size))
    steps = limit if limit and limit < planned else None
    start = time.perf_counter()
    result = kstyle.stylize(
        EXAMPLES / f"{content}.jpg", EXAMPLES / f"{style}.jpg", preset=preset, size=size, steps=steps, **overrides
    )
    seconds = time.perf_counter() - start
    row = {
        **asked, "overrides": overrides, "steps": len(result.history), "of": planned, "seconds": seconds,
        "losses": result.losses,
        "precision": result.settings["precision"], "device": result.settings["device"],
    }  # fmt: skip
    images.write(runs / f"{preset}.png", result.rgb)
    with replacing(path) as beside:
        beside.write_text(json.dumps(row))
    return row


def table(rows):
    lines = ["| preset | weights | steps | final loss | its terms | seconds |", "| --- | --- | --- | --- | --- | --- |"]
    for row in rows:
        if row["overrides"] is None:
            lines.append(f"| `{row['preset']}` | not on this machine, left out | | | | |")
            continue
        others = [f"`{key}={value:g}`" for key, value in row["overrides"].items() if key != "network.extractor"]
        named = [f"`{row['overrides']['network.extractor']}` instead of its own"] if row["overrides"] else ["its own"]
        steps = str(row["steps"]) if row["steps"] == row["of"] else f"{row['steps']} of {row['of']}"
        terms = ", ".join(f"{key} {value:.3g}" for key, value in row["losses"].items() if key != "loss")
        cells = [f"`{row['preset']}`", ", ".join(named + others), steps, f"{row['losses']['loss']:.4g}", terms]
        lines.append(f"| {' | '.join(cells)} | {row['seconds']:.0f} |")
    return "\n".join(lines)


def bytes_of(rgb):
    return np.round(np.clip(rgb, 0, 1) * 255).astype(np.uint8)


def make_sheets(rows, content, style, shown, runs, folder, megabytes):
    """Writes gallery-1.jpg, … and returns their names and the JPEG quality they share."""
    from PIL import Image

    entries = [(bytes_of(read(name)), [what, name], None) for name, what in ((content, "content"), (style, "style"))]
    for row in rows:
        if row["overrides"] is None:
            continue
        picture = bytes_of(images.read(runs / f"{row['preset']}.png").rgb)
        note = " *" if row["overrides"] else ""
        caption = [row["preset"] + note, f"{row['steps']} steps, {row['seconds']:.0f} s"]
        entries.append((picture, caption, None))
    whole = []
    for first in range(0, len(entries), A_SHEET):
        path = runs / f"sheet-{first // A_SHEET + 1}.png"
        sheet.sheet(entries[first : first + A_SHEET], path, columns=COLUMNS, size=shown)
        with Image.open(path) as image:
            whole.append(image.convert("RGB"))
    names = [f"gallery-{number}.jpg" for number in range(1, len(whole) + 1)]
    for stale in folder.glob("gallery-*.jpg"):
        if stale.name not in names:
            stale.unlink()
    others = sum(path.stat().st_size for path in folder.glob("*") if path.is_file() and path.name not in names)
    for quality in range(90, 39, -5):
        files = [jpeg(image, quality) for image in whole]
        if others + sum(map(len, files)) <= megabytes * 1e6:
            break
    else:
        raise click.ClickException(f"{folder} holds {others / 1e6:.2f} MB already: the sheets do not fit below.")
    for name, data in zip(names, files):
        with replacing(folder / name) as beside:
            beside.write_bytes(data)
    return names, quality


def jpeg(image, quality):
    stream = io.BytesIO()
    image.save(stream, format="JPEG", quality=quality, optimize=True)
    return stream.getvalue()


@click.command()
@click.option("--size", type=int, help="Long side at which they are made.  [default: 512, on sheets 256]")
@click.option("--shown", default=256, show_default=True, help="Long side at which they are written.")
@click.option("--preset", "presets", multiple=True, help="Repeatable.  [default: kstyle, gatys; on sheets all]")
@click.option("-o", "--output", default="docs/pictures", show_default=True, type=click.Path(file_okay=False))
@click.option("--sheets", is_flag=True, help="One pair with every preset, side by side.")
@click.option("--pair", nargs=2, default=("chelsea", "night"), show_default=True, help="Names in examples/.")
@click.option("--steps", "limit", type=int, help="At most so many a preset.  [default: its own]")
@click.option("--runs", default="out/gallery", show_default=True, type=click.Path(file_okay=False))
@click.option("--megabytes", default=1.5, show_default=True, help="Most that all of the output folder may take.")
def main(size, shown, presets, output, sheets, pair, limit, runs, megabytes):
    folder, runs = Path(output), Path(runs)
    folder.mkdir(parents=True, exist_ok=True)
    if not sheets:
        return pairs(size or 512, shown, presets or ("kstyle", "gatys"), folder)
    runs.mkdir(parents=True, exist_ok=True)
    rows = []
    for preset in presets or kstyle.presets():
        rows.append(run(preset, *pair, size or 256, limit, runs))
        click.echo(f"{preset}: {rows[-1].get('seconds', 0):.0f} s", err=True)
    names, quality = make_sheets(rows, *pair, shown, runs, folder, megabytes)
    click.echo(f"{', '.join(names)}: JPEG quality {quality}", err=True)
    click.echo(table(rows))


if __name__ == "__main__":
    main()
