"""`kstyle serve`: a page to paint in."""

import contextlib
import sys

import click

from kstyle.cli.common import options as painting
from kstyle.errors import UsageError


@click.command()
@click.argument("folder", type=painting.PATH, default="painted", metavar="[DIR]")
@click.option(
    "--host", default="127.0.0.1", show_default=True,
    help="Where it listens. On another address than this machine's own, the link has a token, which others need.",
)  # fmt: skip
@click.option("--port", default=8765, show_default=True, type=click.IntRange(0, 65535), help="0: any that is free.")
@click.option("--open/--no-open", "opened", default=True, help="Open the browser, from a terminal.  [default: open]")
@click.option(
    "--jobs-at-most", "most", default=20, show_default=True, type=click.IntRange(1, 1000), metavar="N",
    help="Paintings in work and waiting.",
)  # fmt: skip
@painting.max_memory
@click.option(
    "--save-seconds", type=click.FloatRange(min=0), default=60, show_default=True, metavar="N",
    help="Save what is painted every N seconds.",
)  # fmt: skip
@painting.device
@painting.plugin
def serve(folder, host, port, opened, most, **given):
    """Serve a page to paint in, until Ctrl-C: photographs, paintings and masks in, pictures as they come about.

    All of it is kept in DIR [default: painted]: the next `kstyle serve DIR` has it too, and goes on with what was not
    finished. Nobody but this machine can reach it, unless --host says so.
    """
    import importlib.util
    import logging

    missing = [name for name in ("starlette", "uvicorn") if importlib.util.find_spec(name) is None]
    if missing:
        raise UsageError(f"kstyle serve needs {' and '.join(missing)}: pip install 'kstyle[serve]'.")
    from kstyle.serve import run

    log, handler = logging.getLogger("kstyle"), logging.StreamHandler()
    log.setLevel(logging.INFO)
    log.addHandler(handler)

    def ready(link):
        click.echo(link)
        sys.stdout.flush()  # whoever reads it through a pipe waits for it
        if opened and sys.stdout.isatty():
            with contextlib.suppress(Exception):  # there is none, or it is on another machine
                import webbrowser

                webbrowser.open(link)

    try:
        run.serve(folder, host, port, run.token_for(host), most=most, ready=ready, **given)
    finally:
        log.removeHandler(handler)
