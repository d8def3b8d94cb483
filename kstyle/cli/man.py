"""`kstyle man`: man pages, of what `--help` says. click-man leaves out sections of options and examples, and cuts what
each command does at 45 characters."""

import inspect
from pathlib import Path

import click

import kstyle
from kstyle.cli.common.options import PATH
from kstyle.errors import DataError, unknown
from kstyle.io.files import one_line, reason, replacing


class Roff(click.HelpFormatter):
    """What click writes a command's help with; here it becomes the text of a man page."""

    def __init__(self):
        super().__init__(width=1000)  # of a line, by which click would cut what a command does
        self._begun = False  # whether something is below the last heading

    def write_usage(self, prog, args="", prefix=None):
        self.write_heading("Synopsis")
        self.write(f".B {escaped(prog)}\n{escaped(args)}\n", raw=True)

    def write_heading(self, heading):
        self.write(f".SH {escaped(heading).upper()}\n", raw=True)
        self._begun = False

    def write_text(self, text):
        for paragraph in text.split("\n\n"):
            if paragraph.startswith("\b\n"):  # lines that stay as they are
                self.write(paragraph[2:])
            else:
                self.write(f"{self._gap()}{escaped(' '.join(paragraph.split()))}\n", raw=True)

    def write_dl(self, rows, *_, **__):
        for term, said in rows:
            self.write(f".TP\n.B {escaped(term)}\n{escaped(' '.join(said.split()))}\n", raw=True)

    def write_paragraph(self):
        pass

    def _gap(self):
        return ".PP\n" if self._begun else ""

    def write(self, text, raw=False):
        super().write(text if raw else f"{self._gap()}.nf\n{escaped(inspect.cleandoc(text))}\n.fi\n")
        self._begun = True


def escaped(text):
    """Text that is no command of the formatter's, with each `-` a hyphen that one can copy."""
    text = text.replace("\\", r"\e").replace("-", r"\-")
    return "\n".join(rf"\&{line}" if line.startswith((".", "'")) else line for line in text.split("\n"))


def pages(command, name="kstyle", parent=None):
    """The man pages of a command and of those below it, as `(name of the page, its text)`."""
    context = click.Context(command, info_name=name, parent=parent, **command.context_settings)
    roff, title = Roff(), context.command_path.replace(" ", "-")
    roff.write(f'.TH "{title.upper()}" "1" "" "kstyle {kstyle.__version__}" "kstyle"\n.SH NAME\n', raw=True)
    roff.write(f"{escaped(title)} \\- {escaped(command.get_short_help_str(1000).rstrip('.'))}\n", raw=True)
    command.format_usage(context, roff)
    roff.write_heading("Description")
    command.format_help_text(context, roff)
    command.format_options(context, roff)
    command.format_epilog(context, roff)
    below = [each for each in getattr(command, "commands", {}).items() if not each[1].hidden]
    near = [f"{title}-{each}" for each, _ in below] + ([parent.command_path.replace(" ", "-")] if parent else [])
    if near:
        roff.write_heading("See also")
        roff.write(",\n".join(rf".BR {escaped(each)} (1)" for each in near).replace("(1),", "(1) ,") + "\n", raw=True)
    yield title, roff.getvalue()
    for each, its in below:
        yield from pages(its, each, context)


@click.command()
@click.argument("words", metavar="[COMMAND]...", nargs=-1)
@click.option("-o", "--output", type=PATH, metavar="DIR", help="Write all pages there, as NAME.1.")
@click.pass_context
def man(context, words, output):
    """Print the man page of a command, or write those of all commands.

    \b
    kstyle man stylize | man -l -
    kstyle man -o ~/.local/share/man/man1        then: man kstyle-stylize
    """
    found = dict(pages(context.find_root().command))
    if output:
        try:
            Path(output).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DataError(f"{one_line(output)}: cannot be made ({reason(error)}).") from error
        for name, text in found.items():
            with replacing(Path(output) / f"{name}.1") as beside:
                beside.write_text(text, "utf-8")
        click.echo(f"{output}: {len(found)} pages")
        return
    name = "-".join(("kstyle", *words))
    if name not in found:
        raise unknown(
            "command", " ".join(words), [each.replace("-", " ").removeprefix("kstyle ") for each in found][1:]
        )
    click.echo(found[name], nl=False)
