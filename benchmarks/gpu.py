"""What only a GPU can tell, in one command of under eight minutes: that everything runs there, how fast, in how much
memory.

    python benchmarks/gpu.py [--minutes 8] [--data CIFAR-10] [-o out/gpu]

Parts, in this order, each in a process of its own; what one comes to is written before the next begins, so that a
lease that ends early loses little:

    presets     two steps of each preset on the GPU, in float32, TF32 and bfloat16, beside the processor's float32
    painting    the preset kstyle, 512 px, from the call to the picture, the network loaded and used before
    memory      predicted and measured peak of paintings of 1024 and 2048 px
    together    seconds a picture where 1, 4 and 16 pictures of 256 px are painted at once
    style       style.py: a step beside PyTorch's by hand
    train_step  train_step.py: a step of training beside PyTorch's by hand
    training    cifar10_vgg19_tuned for the time that is left: seconds an epoch, accuracy

`results.json` and `results.md` are written to the output folder. Without a GPU it says so and does the same on the
processor, at `--side` pixels: that its parts work is known before a GPU is lent.
"""

import contextlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import click

HERE = Path(__file__).resolve().parent
EXAMPLES = HERE.parent / "examples"
CPU = {"KSTYLE_DEVICE": "cpu"}
# Share of the time that a part may take at the most, of what is left when it begins.
SHARES = {
    "presets": 0.35, "painting": 0.2, "memory": 0.2, "together": 0.2, "style": 0.4, "train_step": 0.4, "training": 1.0
}  # fmt: skip
TOLERANCE = {"float32": 1e-3, "tf32": 2e-2, "bfloat16": 5e-2}  # of the second loss, to the processor's
RESERVE = 20  # seconds to end in


def pictures(side):
    """A photograph and a painting, (H, W, 3) float32 in [0, 1]."""
    from kstyle.pictures import images

    read = (images.read(EXAMPLES / name) for name in ("chelsea.jpg", "night.jpg"))
    return [images.resize_picture(each, images.fit(each.size, side)).rgb for each in read]


def painted(preset, side, steps, **options):
    """A `Result`, and the seconds that the painting took once the network was loaded and used."""
    import kstyle
    from kstyle import backend

    content, style = pictures(side)
    painter = kstyle.Painter(style, preset, **options)
    painter.paint(content, size=side, steps=2)
    backend.synchronize()
    began = time.perf_counter()
    result = painter.paint(content, size=side, steps=steps)
    return result, time.perf_counter() - began


def losses(side, names, precision):
    """{preset: [losses of two steps]}; an error in place of them where there was one."""
    import kstyle
    from kstyle import config

    content, style = pictures(side)
    found = {}
    number_format = {"tf32": "float32"}.get(precision, precision)
    for name in names or config.names("stylize"):
        try:
            more = {"precision": number_format, "deterministic": precision == "float32", "scales.smallest": None}
            result = kstyle.stylize(content, style, name, size=side, steps=2, **more)
            found[name] = result.history["loss"].tolist()
        except Exception as error:  # the next preset may run
            found[name] = f"{type(error).__name__}: {error}"
        print(name, found[name], file=sys.stderr, flush=True)
    return found


def presets(side, names, **_):
    expected = _own("losses", side, names, "float32", env=CPU)
    rows = []
    for precision in TOLERANCE:
        for name, values in _own("losses", side, names, precision).items():
            row = {"preset": name, "precision": precision, "off": None, "error": None}
            if isinstance(values, str) or isinstance(expected[name], str):
                row["error"] = values if isinstance(values, str) else expected[name]
            else:
                row["off"] = max(abs(a / b - 1) for a, b in zip(values, expected[name]))
            rows.append({**row, "holds": row["error"] is None and row["off"] <= TOLERANCE[precision]})
    return rows


def painting(side, steps, **_):
    rows = []
    for precision in ("bfloat16", "float32"):
        result, seconds = painted("kstyle", side, steps, precision=precision)
        row = {"precision": precision, "size": side, "steps": len(result.history), "seconds": seconds}
        rows.append({**row, "loss": result.losses["loss"]})
    return rows


def memory(side, **_):
    import kstyle
    from kstyle import backend

    rows = []
    for each in (2 * side, 4 * side):
        content, style = pictures(each)
        painter = kstyle.Painter(style, "kstyle")
        painter.load()
        plan = painter.planned(content, size=each)
        painter.paint(content, size=each, steps=4)
        rows.append({"size": each, "predicted": max(plan.peaks), "measured": backend.memory()["peak"]})
    return rows


def together(side, **_):
    import kstyle
    from kstyle import backend

    side = side // 2
    content, style = pictures(side)
    painter, rows = kstyle.Painter(style, "kstyle", **{"scales.smallest": None}), []
    for count in (1, 4, 16):
        paint, given = (painter.paint, content) if count == 1 else (painter.paint_together, [content] * count)
        paint(given, side, 3)
        backend.synchronize()
        began = time.perf_counter()
        paint(given, side, 20)
        backend.synchronize()
        seconds = (time.perf_counter() - began) / 20 / count
        rows.append({"pictures": count, "size": side, "seconds a picture and step": seconds})
    return rows


def style(side, **_):
    sizes = ["--size", str(side // 2), "--size", str(side)]
    found = _program("style.py", *sizes, "--rounds", "3", "--variant", "kstyle", "--variant", "PyTorch", "--json")
    kept = ("variant", "size", "seconds", "ratio", "megabytes")
    return [{key: row[key] for key in kept} for row in json.loads(found)["rows"]]


def train_step(repeats, **_):
    return json.loads(_program("train_step.py", "vgg19", "--repeats", str(repeats), "--json"))


def training(data, seconds, recipe, **_):
    """Trains until the time is up: a stop is in good order, and what it came to is in the run's history."""
    import tempfile

    import pandas as pd

    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        command = [sys.executable, "-m", "kstyle", "train", recipe, "--run", str(run), "--quiet"]
        began = time.perf_counter()
        process = subprocess.Popen([*command, *(["--data", data] if data else [])], cwd=HERE.parent)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(max(1, seconds - RESERVE))
        process.terminate()
        process.wait()
        history = run / "history.csv"
        table = pd.read_csv(history) if history.is_file() else pd.DataFrame()
        if table.empty:
            return [{"recipe": recipe, "epochs": 0, "seconds": time.perf_counter() - began}]
        accuracy = [name for name in table if name.endswith("accuracy")]
        row = {"recipe": recipe, "epochs": len(table), "seconds an epoch": float(table["seconds"].median())}
        return [{**row, **{name: float(table[name].iloc[-1]) for name in accuracy}}]


PARTS = {part.__name__: part for part in (presets, painting, memory, together, style, train_step, training)}


def _own(what, *arguments, env=()):
    """What a function of this file gives, in a process of its own."""
    program = [sys.executable, str(HERE / "gpu.py"), "--call", json.dumps([what, list(arguments)])]
    done = subprocess.run(program, env={**os.environ, **dict(env)}, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def _program(name, *arguments):
    command = [sys.executable, str(HERE / name), *arguments]
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.splitlines()[-1]


def table(rows):
    """Rows, dicts, as a Markdown table."""
    names = list(dict.fromkeys(name for row in rows for name in row))

    def cell(value):
        return f"{value:.4g}" if isinstance(value, float) else "" if value is None else str(value).replace("|", "/")

    lines = [names, ["---"] * len(names), *([cell(row.get(name)) for name in names] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def written(folder, found):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "results.json").write_text(json.dumps(found, indent=1), "utf-8")
    text = [f"{found['device']}, {found['date']}"]
    for name, part in found["parts"].items():
        told = part["error"] or table(part["rows"])
        text += [f"\n## {name} ({part['seconds']:.0f} s)\n", told]
    (folder / "results.md").write_text("\n".join(text) + "\n", "utf-8")


@click.command(help=__doc__)
@click.option("--minutes", default=7.5, show_default=True, help="In all.")
@click.option("--part", "wanted", multiple=True, type=click.Choice(list(PARTS)), help="Repeatable.  [default: all]")
@click.option("--preset", "names", multiple=True, help="For `presets`.  [default: all]")
@click.option("--side", type=int, help="Long side.  [default: 512 on a GPU, 64 without]")
@click.option("--steps", type=int, help="Of `painting`.  [default: the preset's]")
@click.option("--repeats", default=10, show_default=True, help="Of `train_step`.")
@click.option("--data", metavar="DIR", help="Folder with CIFAR-10.  [default: where kstyle finds it]")
@click.option("--recipe", default="cifar10_vgg19_tuned", show_default=True)
@click.option("-o", "--output", default="out/gpu", show_default=True, type=click.Path(file_okay=False, path_type=Path))
@click.option("--call", hidden=True)
def main(minutes, wanted, names, side, steps, repeats, data, recipe, output, call):
    if call:
        what, arguments = json.loads(call)
        function = {"losses": losses, "device": device, **PARTS}[what]
        print(json.dumps(function(**arguments) if isinstance(arguments, dict) else function(*arguments)))
        return
    end = time.monotonic() + 60 * minutes
    name, is_gpu = _own("device")
    if not is_gpu:
        click.echo(f"No GPU here ({name}): the parts are tried on the processor, and say nothing of one.", err=True)
    found = {"device": name, "gpu": is_gpu, "date": time.strftime("%Y-%m-%d"), "parts": {}}
    for part in wanted or PARTS:
        left = end - time.monotonic() - RESERVE
        began, row = time.monotonic(), {"rows": [], "error": None}
        arguments = {
            "side": side or (512 if is_gpu else 64), "names": list(names), "steps": steps, "repeats": repeats,
            "data": data, "recipe": recipe, "seconds": SHARES[part] * left,
        }  # fmt: skip
        if part == "presets":
            arguments["side"] //= 2
        program = [sys.executable, str(HERE / "gpu.py"), "--call", json.dumps([part, arguments])]
        try:
            done = subprocess.run(program, stdout=subprocess.PIPE, text=True, check=True, timeout=arguments["seconds"])
            row["rows"] = json.loads(done.stdout.splitlines()[-1])
        except (subprocess.SubprocessError, ValueError) as error:
            row["error"] = f"{type(error).__name__}: {str(error)[-200:]}" if left > 0 else "no time was left"
        found["parts"][part] = {**row, "seconds": time.monotonic() - began}
        written(output, found)
        click.echo(f"{part}: {row['error'] or 'done'} ({found['parts'][part]['seconds']:.0f} s)", err=True)
    click.echo((output / "results.md").read_text("utf-8"))
    parts = found["parts"].items()
    failed = [name for name, part in parts if part["error"] or not all(r.get("holds", True) for r in part["rows"])]
    if failed:
        raise click.ClickException(f"What did not hold: {', '.join(failed)}.")


def device():
    from kstyle import backend

    return [backend.device(), bool(backend.accelerated())]


if __name__ == "__main__":
    main()
