"""`kstyle push` and `kstyle pull`: runs and style networks to and from the Hugging Face Hub."""

import click

from kstyle.cli.common import completing
from kstyle.cli.common.options import PATH, STYLE
from kstyle.io.files import json_text, listed


@click.command()
@click.argument("what", type=STYLE, metavar="RUN|NETWORK", shell_complete=completing.runs)
@click.argument("repository", metavar="OWNER/NAME")
@click.option("--private", is_flag=True, default=None, help="A repository that is made is for you alone.")
@click.option("--dry-run", is_flag=True, help="Say which files would go, and send nothing.")
@click.option("--licence", "--license", metavar="NAME", help="For the model card: mit, cc-by-4.0, ...")
@click.option("-m", "--message", metavar="TEXT", help="Of the commit.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def push(what, repository, private, dry_run, licence, message, as_json):
    """Put RUN, or a style network's file or style:NAME, on the Hugging Face Hub, with a model card made from it.

    \b
    kstyle push runs/digits me/digits --dry-run
    kstyle push painting.keras me/painting --private
    """
    from kstyle.hub import push as sharing

    done = sharing.push(what, repository, private, dry_run, licence, message)
    total = sum(done.files.values())
    if as_json:
        click.echo(json_text({**vars(done), "bytes": total, "dry_run": dry_run}))
        return
    for name, size in done.files.items():
        click.echo(f"{size:>13,}  {name}")
    said = "would go to" if dry_run else "went to"
    click.echo(f"{total:>13,}  bytes {said} {repository}{f': {done.url}' if done.url else ''}")


@click.command()
@click.argument("repository", metavar="OWNER/NAME")
@click.option("-o", "--output", type=PATH, metavar="DIR", help="A new folder.  [default: NAME]")
@click.option("--revision", metavar="REF", help="A branch, tag or commit.  [default: the newest]")
@click.option("--allow-code", "code", is_flag=True, help="Take the Python file too that the run's network is in.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def pull(repository, output, revision, code, as_json):
    """Fetch a run or a style network that `kstyle push` put on the Hugging Face Hub.

    \b
    kstyle pull me/digits && kstyle predict digits seven.png
    kstyle pull me/painting && kstyle stylize photo.jpg painting/style.keras
    """
    from kstyle.cli.common.progress import Progress
    from kstyle.hub import pull as sharing

    with Progress(quiet=as_json) as progress:
        done = sharing.pull(repository, output, code, revision, progress.download)
    if as_json:
        click.echo(json_text({**vars(done), "path": str(done.path), "bytes": sum(done.files.values())}))
        return
    click.echo(f"{done.path}: a {done.kind} of {repository}, {sum(done.files.values()) / 1e6:.1f} MB")
    if done.left:
        click.echo(f"left there: {listed(done.left)}", err=True)
    if any(name.endswith(".py") for name in done.files):
        click.echo("Its network is a program: read it before you add --allow-code to what uses the run.", err=True)
