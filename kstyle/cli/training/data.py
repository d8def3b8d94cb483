"""`kstyle data`: which data sets there are, fetching one, and what is really in it."""

import click

from kstyle.cli.common import completing
from kstyle.cli.common.options import PATH, Path
from kstyle.cli.training import flickr
from kstyle.io.files import json_text


@click.group()
def data():
    """List, download and check the data sets that recipes train on."""


@data.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_(as_json):
    """List the data sets and where each would be read from."""
    from kstyle.data import locate, published

    found = {
        name: {
            "title": source.title,
            "train": source.pictures[0],
            "test": source.pictures[1],
            "classes": source.classes,
            "shape": list(source.shape),
            "download_bytes": source.size,
            "here": locate(name),
        }
        for name, source in published().items()
    }
    if as_json:
        click.echo(json_text(found, indent=2))
        return
    width = max(map(len, found))
    for name, facts in found.items():
        pictures = f"{facts['train'] + facts['test']:,} pictures"
        where = facts["here"] or _to_get(name, facts["download_bytes"])
        shape = "×".join(map(str, facts["shape"])) or "photos"
        click.echo(f"{name:{width}}  {pictures:>16}  {facts['classes']:>3} classes  {shape:7}  {where}")


def _to_get(name, size):
    if name == "digits":
        return "not here: pip install scikit-learn"
    return f"not here: download {size / 1e6:.0f} MB" if size else f"not here: kstyle data download {name}"


@data.command()
@click.argument("name", shell_complete=completing.data_sets)
@click.option("--to", "folder", type=Path(file_okay=False), help="Folder for the file. Default: Keras' own.")
@flickr.options
def download(name, folder, **of_flickr):
    """Download the official file of a data set; a download that broke off goes on where it ended."""
    from kstyle import data
    from kstyle.cli.common.progress import Progress

    if name == "flickr_style":
        flickr.download(folder, of_flickr)
        return
    flickr.refuse(name, of_flickr)
    with Progress() as progress:
        path = data.download(name, folder, progress.download)
    click.echo(path)


@data.command()
@click.argument("name", shell_complete=completing.data_sets)
@click.option("--data", "folder", type=PATH, help="Folder or file to read. Default: where recipes look.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def check(name, folder, as_json):
    """Read all of a data set, a published one or your own (folder, list, csv), and report what is in it.

    Differences from the official set are named, and files that are left out.
    """
    from kstyle import data
    from kstyle.io.files import legible, one_line

    report = data.check(name, folder)
    if as_json:
        click.echo(json_text(report, indent=2))
        return
    photographs, classes = not report["shape"], report["splits"]["train"]["per_class"]
    shape = "photographs" if photographs else "×".join(map(str, report["shape"]))
    click.echo(f"{'origin':9}  {one_line(legible(report['origin']))}")
    click.echo(f"{'sha256':9}  {report['sha256']} (of the {'files' if photographs else 'arrays'})")
    click.echo(f"{'shape':9}  {shape}, {len(classes)} classes")
    for key in ("mean", "std"):
        if report[key]:
            values = ", ".join(f"{value:.4f}" for value in report[key])
            click.echo(f"{key:9}  {values} (train, in 0 to 1)")
    for part, split in report["splits"].items():
        counts = split["per_class"].values()
        more = "" if split["grey"] is None else f", {split['grey']:,} grey"
        more += ", with boxes" if split["boxes"] else ""
        more += ", set apart by kstyle" if part == "test" and report.get("drawn") else ""
        click.echo(f"{part:9}  {split['pictures']:,} pictures, {min(counts):,} to {max(counts):,} a class{more}")
    if photographs and len(classes) <= 20:
        test = report["splits"]["test"]["per_class"]
        for name, count in classes.items():
            click.echo(f"{'':9}  {one_line(name)}: {count:,} to train on, {test[name]:,} to test on")
    for path, why in report.get("skipped", [])[:20]:
        click.echo(f"{'left out':9}  {one_line(legible(path))}: {one_line(legible(why))}")
    for number, problem in enumerate(report["problems"] or ["none"]):
        click.echo(f"{'problems' if not number else '':9}  {one_line(legible(problem))}")
