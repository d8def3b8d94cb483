"""The page on which a run is watched while it goes on, for commands with `--preview`."""

import contextlib

import click


@contextlib.contextmanager
def watched(page):
    """`with watched(page):` it is served, and the terminal says where.

    Args:
        page: a `kstyle.reports.live.Live`, or None: nothing is served.
    """
    if page is None:
        yield None
        return
    with page:
        click.echo(f"to be watched on this machine at {page.address}", err=True)
        yield page
