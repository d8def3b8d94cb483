"""The command line: options, calls and printing. One file a command; a framework is imported only inside one, and what
only one way through a command takes, logging too: `--help` is to be there at once."""

import contextlib
import os
import sys
import warnings

import click

import kstyle
from kstyle.cli.common import completing
from kstyle.cli.completion import completion
from kstyle.cli.dream import dream
from kstyle.cli.hub import pull, push
from kstyle.cli.info import info
from kstyle.cli.inspect.group import inspect
from kstyle.cli.man import man
from kstyle.cli.report import report
from kstyle.cli.schema import schema
from kstyle.cli.serve import serve
from kstyle.cli.style.batch import batch
from kstyle.cli.style.compare import compare
from kstyle.cli.style.learn import learn
from kstyle.cli.style.presets import presets
from kstyle.cli.style.styles import styles
from kstyle.cli.style.stylize import stylize
from kstyle.cli.style.sweep import sweep
from kstyle.cli.training.data import data
from kstyle.cli.training.evaluate import evaluate
from kstyle.cli.training.export import export
from kstyle.cli.training.predict import predict
from kstyle.cli.training.recipes import recipes
from kstyle.cli.training.train import train
from kstyle.errors import KStyleError
from kstyle.io import signals, streams
from kstyle.io.files import one_line


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(kstyle.__version__, prog_name="kstyle")
@click.option("--debug", is_flag=True, envvar="KSTYLE_DEBUG", help="Show tracebacks.")
def cli(debug):
    """Neural style transfer and image-classification recipes on PyTorch, JAX or TensorFlow (KERAS_BACKEND chooses)."""


for command in (
    *(stylize, learn, styles, batch, sweep, presets, compare),
    *(train, evaluate, predict, export, recipes, data),
    *(report, inspect, dream, serve, push, pull, schema, completion, man, info),
):
    cli.add_command(command)


def main(arguments=None):
    """Runs the command line; exits with 0 done, 1 bad data, 2 bad usage, 130 interrupted (SIGTERM 143, SIGHUP 129)."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    debug = "--debug" in arguments or bool(os.environ.get("KSTYLE_DEBUG"))
    if not debug:
        warnings.filterwarnings("ignore", module=r"PIL\.")  # about damaged metadata, not the picture
    for stream in (sys.stdout, sys.stderr):  # a name or a × that the terminal's encoding lacks is no reason to fail
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    with signals.orderly(), streams.remembered():
        try:
            _run(arguments, debug)
        finally:
            for stream in (sys.stdout, sys.stderr):
                _flush(stream)


def _flush(stream):
    """Here, where a reader that has gone can be passed over: Python, as it ends, would make exit code 120 of it."""
    try:
        if stream and not stream.closed:
            stream.flush()
    except OSError:
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _run(arguments, debug):
    if instruction := os.environ.get(completing.VARIABLE):  # Tab was pressed
        from click.shell_completion import shell_complete

        sys.exit(shell_complete(cli, {}, "kstyle", completing.VARIABLE, instruction))
    try:
        # Not cli.main, which makes an error of a reader of our output that has gone.
        with cli.make_context("kstyle", list(arguments), obj=tuple(arguments)) as context:
            cli.invoke(context)
        sys.exit(0)
    except click.exceptions.Exit as done:
        sys.exit(signals.exit_code() if done.exit_code == 130 else done.exit_code)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        sys.exit(error.exit_code)
    except click.ClickException as error:
        command = getattr(getattr(error, "ctx", None), "command_path", "kstyle")
        click.echo(f"kstyle: {' '.join(error.format_message().split())} See {command} --help.", err=True)
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        click.echo("kstyle: interrupted", err=True)
        sys.exit(signals.exit_code())
    except BrokenPipeError:
        sys.exit(0)  # the reader of our output, `head` say, has gone: nothing is wrong
    except KStyleError as error:
        if debug:
            import logging

            logging.getLogger("kstyle").exception(error)
        click.echo(f"kstyle: {error}", err=True)
        sys.exit(error.exit_code)
    except MemoryError:
        if debug:
            raise
        click.echo(
            "kstyle: this takes more memory than there is: make the pictures, or what is asked of them, smaller.",
            err=True,
        )
        sys.exit(1)
    except Exception as error:
        if debug:
            raise
        reason = one_line(error) or type(error).__name__
        click.echo(
            f"kstyle: unexpected {type(error).__name__}: {reason[:300]} (kstyle --debug … shows where)", err=True
        )
        sys.exit(1)
