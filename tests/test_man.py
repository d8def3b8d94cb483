"""Man pages: each command has one, all of its help is in it, and the formatter takes it as it is."""

import inspect
import re
import shutil
import subprocess

import click
import pytest

from kstyle import cli
from kstyle.cli.man import escaped, pages

PAGES = dict(pages(cli.cli))


def commands(command, name="kstyle"):
    yield name, command
    for each, below in getattr(command, "commands", {}).items():
        yield from commands(below, f"{name}-{each}")


@pytest.mark.parametrize(("name", "command"), [*commands(cli.cli)])
def test_all_of_the_help_is_in_the_page(name, command):
    """Failure: a new command has no page, or an option, an example or a line that stays as it is, is missing in one."""
    text = PAGES[name]
    for option in command.params:
        if isinstance(option, click.Option) and not option.hidden:
            assert all(escaped(each) in text for each in option.opts)
            assert escaped(" ".join((option.help or "").split())) in text
    for example in getattr(command, "examples", ()):
        assert f"\n{escaped(example)}\n" in text
    for block in re.findall(r"\x08\n(.*?)(?:\n\n|\Z)", inspect.cleandoc(command.help), re.S):
        assert f".nf\n{escaped(block.strip())}\n.fi" in text
    assert "\b" not in text


def test_text_is_no_command_of_the_formatter():
    """Failure: a line that begins with a full stop vanishes, a backslash is eaten, an option cannot be copied."""
    assert escaped(".fi\n'a' --no\\n") == "\\&.fi\n\\&'a' \\-\\-no\\en"


@pytest.mark.skipif(not shutil.which("groff"), reason="groff is not installed")
def test_the_formatter_says_nothing():
    """Failure: `man` shows a page with holes, or with its warnings above it."""
    done = subprocess.run(
        ["groff", "-ww", "-man", "-Tutf8", "-Kutf8"], input="".join(PAGES.values()), capture_output=True, text=True,
        encoding="utf-8",
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    shown = " ".join(re.sub(r"\x1b\[\d*m|.\x08", "", done.stdout).split())
    assert "kstyle-stylize - Paint CONTENT in the style of" in shown


def test_pages_are_written_and_printed(command, tmp_path):
    """Failure: pages have other names than `man` looks for, or one command's cannot be had."""
    code, out, _ = command("man", "-o", tmp_path / "man1")
    assert code == 0 and {path.name for path in (tmp_path / "man1").iterdir()} == {f"{name}.1" for name in PAGES}
    code, out, _ = command("man", "data", "check")
    assert code == 0 and out == PAGES["kstyle-data-check"] == (tmp_path / "man1/kstyle-data-check.1").read_text("utf-8")
    code, _, errors = command("man", "stilize")
    assert code == 2 and "Did you mean 'stylize'?" in errors
