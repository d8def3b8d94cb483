"""Templates, filled: HTML in which whatever was put in is shown as text."""

import functools
import os
from pathlib import Path

import kstyle
from kstyle.io import files

PACKAGE = Path(kstyle.__file__).parent
TEMPLATES = PACKAGE / "pages" / "templates"


def filled(template: str, **values: object) -> str:
    """A page's HTML.

    Args:
        template: its name in `kstyle/pages/templates`, or its path from the folder `kstyle` on, as in
            `"inspect/pages/page.html.jinja"`.
        values: what it is filled with, shown as text: `<` is `&lt;`. What a template writes as JSON, by
            `{{ about | tojson }}`, is safe in a `<script>`.

    Templates have `version`, of kstyle, and `{{ inline("pages/base.css") }}`, a file of the package as it is.

    Raises:
        jinja2.UndefinedError: the template asks for a value that was not given.

    >>> from kstyle.pages.render import filled
    >>> "<b>" in filled("base.html.jinja", title="<b>")
    False
    """
    return files.legible(_environment().get_template(template).render(version=kstyle.__version__, **values))


def write(path: str | os.PathLike[str], template: str, **values: object) -> Path:
    """Writes a filled template, whole or not at all. Returns the path. DataError: it cannot be written."""
    path, text = Path(path), filled(template, **values)
    with files.replacing(path) as beside:
        Path(beside).write_text(text, "utf-8")
    return path


@functools.cache
def _environment():
    import jinja2

    # A template is found by its place, never by what a user wrote.
    loader = jinja2.FileSystemLoader([TEMPLATES, PACKAGE])
    made = jinja2.Environment(
        loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    made.globals["inline"] = _inline
    return made


@functools.cache
def _inline(name):
    import markupsafe

    return markupsafe.Markup((PACKAGE / name).read_text("utf-8"))
