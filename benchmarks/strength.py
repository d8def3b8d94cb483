"""Whether `strength` means the same at every size: the structural similarity to the content that it leaves.

    python benchmarks/strength.py [--strength 0.5] [--size 256 --size 512 --size 1024] [--data FOLDER] [-o out/strength]

The pictures of a pair are brought to the smallest of the sizes before they are compared, as a person would who looks at
them side by side: at its own size a large picture has strokes of many more pixels, and no two figures would mean the
same. A picture that is in the output folder is not painted again.
"""

import json
from pathlib import Path

import click
from style_time import PAIRS

import kstyle
from kstyle.pictures import images
from kstyle.style.judge import measures


@click.command()
@click.option("--strength", "strengths", type=float, multiple=True, default=(0.5,), show_default=True)
@click.option("--size", "sizes", type=int, multiple=True, default=(256, 512, 1024), show_default=True)
@click.option("--data", type=Path, default=Path(__file__).parents[2] / "shared/data/style", show_default=True)
@click.option("--preset", default="kstyle", show_default=True)
@click.option("-o", "--output", type=Path, default=Path("out/strength"), show_default=True)
@click.option("--json", "as_json", is_flag=True)
def main(strengths, sizes, data, preset, output, as_json):
    output.mkdir(parents=True, exist_ok=True)
    found = {}
    for strength in strengths:
        for size in sorted(sizes):
            for content, style in PAIRS:
                name = f"{Path(content).stem}-{Path(style).stem}-{preset}-{strength:g}-{size}.png"
                if not (output / name).exists():
                    result = kstyle.stylize(
                        data / "content" / content, data / "style" / style, preset, size, strength=strength
                    )
                    result.write(output / name)
                painted, original = images.read(output / name), images.read(data / "content" / content)
                shape = images.fit(painted.size, min(sizes))
                pair = (images.resize_picture(picture, shape).rgb for picture in (painted, original))
                found.setdefault((strength, Path(content).stem, Path(style).stem), []).append(measures.ssim(*pair))
                click.echo(f"{name}: {found[strength, Path(content).stem, Path(style).stem][-1]:.3f}", err=True)
    if as_json:
        rows = [{"strength": s, "content": c, "style": t, "ssim": values} for (s, c, t), values in found.items()]
        click.echo(json.dumps({"preset": preset, "sizes": sorted(sizes), "rows": rows}))
        return
    click.echo(f"| strength | pair | {' | '.join(map(str, sorted(sizes)))} | largest difference |")
    click.echo(f"| --- | --- | {'--- | ' * len(sizes)}--- |")
    for (strength, content, style), values in found.items():
        cells = " | ".join(f"{value:.3f}" for value in values)
        click.echo(f"| {strength:g} | {content} × {style} | {cells} | {max(values) - min(values):.3f} |")


if __name__ == "__main__":
    main()
