"""`kstyle learn`: options, progress and files around `kstyle.learn`."""

import click

from kstyle.cli.common import completing
from kstyle.cli.common import options as painting
from kstyle.errors import DataError, UsageError
from kstyle.io import signals
from kstyle.io.files import expanded, json_text, one_line

_WITH_RESUME = ("resume", "extend", "output", "workers", "as_json", "quiet")


@click.command()
@click.argument("styles", type=painting.PATH, metavar="STYLE...", nargs=-1)
@click.option(
    "--photos", "photographs", type=painting.PATH, multiple=True, metavar="DIR",
    help="A folder of photographs to learn from, some hundreds; may be given several times.",
)  # fmt: skip
@click.option("--arbitrary", is_flag=True, help="Learn one network for any style, from --paintings.")
@click.option(
    "--paintings", type=painting.PATH, multiple=True, metavar="DIR",
    help="With --arbitrary: a folder of paintings, thousands; may be given several times.",
)  # fmt: skip
@click.option(
    "-o", "--output", type=painting.PATH, metavar="FILE.keras", help="Default: STYLE.keras or any.keras, here."
)
@click.option(
    "-r", "--recipe", type=painting.PATH, metavar="NAME|FILE",
    help="half, full, arbitrary.  [default: half, arbitrary]", shell_complete=completing.files_of("networks"),
)  # fmt: skip
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Change any setting of the recipe.")
@click.option("--steps", type=click.IntRange(min=1), help="In all.  [default: the recipe's]")
@click.option("--minutes", type=click.FloatRange(min=0, min_open=True), help="How long it may take, in place of steps.")
@click.option("--size", type=int, help="Long side of the photographs it is meant for, pixels; sets the strokes' size.")
@painting.weights
@painting.precision
@painting.device
@painting.seed
@painting.deterministic
@click.option("--run", type=painting.PATH, metavar="DIR", help="Where it is kept as it learns.  [default: under runs/]")
@click.option("--resume", type=painting.PATH, metavar="DIR", help="Go on with the run in DIR as it was begun.")
@click.option("--extend", type=click.IntRange(min=1), metavar="N", help="With --resume: N steps more.")
@click.option("--workers", type=click.IntRange(min=0), help="Processes that decode.  [default: free cores]")
@painting.plugin
@click.option("--json", "as_json", is_flag=True, help="Print a JSON summary on standard output.")
@click.option("-q", "--quiet", is_flag=True, help="Print nothing but warnings and errors.")
@click.pass_context
@signals.kept()
def learn(
    context, styles, photographs, arbitrary, paintings, output, overrides, steps, minutes, size, extend, as_json, quiet,
    **options,
):  # fmt: skip
    """Learn a network that paints any photograph in the style of a picture at once.

    `kstyle stylize PHOTO STYLE.keras` then takes a second. What it has learned so far is in the run's sheet.png.

    With --arbitrary and --paintings DIR it learns no style by itself but to paint after any picture: `kstyle stylize
    PHOTO PAINTING --network any.keras`.
    """
    from kstyle import config
    from kstyle.cli.common.progress import Progress

    resume = options.pop("resume")
    if resume is not None:
        painting.check_resumed(context, resume, _WITH_RESUME, "begin a new run")
        arguments = {"resume": resume, "extend": extend or 0, "workers": options["workers"]}
    else:
        _check_given(styles, photographs, arbitrary, paintings)
        if extend:
            raise UsageError("--extend adds steps to a run: give --resume DIR, too.")
        own = {"steps": steps, "size": size}
        settings = {**{k: v for k, v in own.items() if v is not None}, **config.parse_overrides(overrides)}
        pictures = {"styles": styles, "photographs": photographs, "paintings": paintings}
        arguments = {**pictures, "minutes": minutes, **options, **settings}
    path = expanded(output) if output is not None else None
    if path is not None and not str(path).endswith(".keras"):
        raise DataError(f"{one_line(path)}: expected a name that ends in .keras.")

    with Progress(quiet=quiet or as_json) as progress:
        from kstyle.style.learning.learn import learn as learned

        found = learned(progress=progress.download, callback=progress.learning, **arguments)
    path = found.network.write(path or f"{_name(found.network.facts)}.keras")
    _report(found, path, as_json, quiet)
    if found.interrupted:
        raise click.exceptions.Exit(130)


def _check_given(styles, photographs, arbitrary, paintings):
    if arbitrary and styles:
        raise UsageError("--arbitrary learns no style by itself: give a folder of paintings by --paintings DIR, alone.")
    if paintings and not arbitrary:
        raise UsageError("--paintings is for one network for any style: give --arbitrary, too.")
    what = ("--paintings DIR", paintings) if arbitrary else ("STYLE", styles)
    for name, value in (what, ("--photos DIR", photographs)):
        if not value:
            said = "paintings" if arbitrary else "a picture to learn the style of"
            raise UsageError(f"learn needs {name}: {said}, and photographs to learn from.")


def _name(facts):
    return (facts["styles"][0].rpartition(".")[0] or "style") if "styles" in facts else "any"


def _report(found, path, as_json, quiet):
    facts = found.network.facts
    learned = facts["learned"]
    if as_json:
        summary = {"output": str(path), "run": str(found.folder), "interrupted": found.interrupted, **facts}
        click.echo(json_text(summary))
    elif not quiet:
        said = f"{path}: {learned['steps']} steps in {learned['seconds']} s"
        if learned["held_out"]:
            said += f", loss {learned['held_out']['loss']:.4g} on pictures held out"
        again = f"; to go on: kstyle learn --resume {found.folder}" if found.interrupted else ""
        click.echo(f"{said}{again}. {found.folder / 'sheet.png'} shows it.", err=True)
