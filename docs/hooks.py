"""What the site has beside the files in docs (mkdocs calls it, see mkdocs.yml): the API, the examples and the changes.

No framework is loaded: the API is read from the source.
"""

import ast
import re
from pathlib import Path

import griffe
from mkdocs.structure.files import File

import kstyle

ROOT = Path(__file__).parents[1]
# Files outside docs that are pages too: {where they are: what the page is called}.
PAGES = {"CHANGELOG.md": "changes.md", "CONTRIBUTING.md": "contributing.md", "examples/README.md": "examples.md"}


class Doctests(griffe.Extension):
    """Docstrings' examples, `>>> …` and what follows to the next empty line, as blocks of code."""

    def on_object(self, *, obj, **_):
        if obj.docstring:
            said = re.sub(r"^(>>> (?:.+\n?)+)", r"```pycon\n\1\n```\n", obj.docstring.value, flags=re.M)
            obj.docstring.value = said.replace("  # doctest: +SKIP", "")


def on_files(files, config):
    """Adds the pages that are no files in docs."""
    for source, page in PAGES.items():
        text = re.sub(r"\]\((?:\.\./)?docs/", "](", (ROOT / source).read_text("utf-8"))
        files.append(File.generated(config, page, content=text))
    files.append(File.generated(config, "api.md", content=api()))
    return files


def on_page_markdown(markdown, page, **_):
    """A link out of docs leads to its page here, or names the file where it has none."""

    def inside(match):
        text, up, target = match.groups()
        if target in PAGES:
            return f"[{text}]({up.removeprefix('../')}{PAGES[target]})"
        return f"{text} (`{target}`)" if (ROOT / target).exists() else match[0]

    base = {page: Path(source).parent.as_posix() for source, page in PAGES.items()}.get(page.file.src_uri)
    if base and base != ".":  # of examples/README.md: its links are relative to examples
        markdown = re.sub(r"\[([^\]]+)\]\((\w+)\)", rf"[\1](../{base}/\2)", markdown)
    return re.sub(r"\[([^\]]+)\]\(((?:\.\./)+)([^)#]+)\)", inside, markdown)


def api():
    """The API page: a heading for each public name, which mkdocstrings fills from its docstring."""
    lines = ["# API", "What `kstyle` has in Python. [In Python](python.md) is the guide to it.\n"]
    modules = []
    for name in kstyle.__all__:
        module, called = kstyle._LAZY.get(name, ("kstyle.errors", name))
        if called:
            lines += [f"## kstyle.{name}\n", f"::: {module}.{called}\n"]
        else:
            modules.append((name, module))
    for name, module in modules:
        lines += [f"## kstyle.{name}\n", f"::: {module}\n    options: {{members: false}}\n"]
        for member in _members(module):
            lines += [f"### kstyle.{name}.{member}\n", f"::: {module}.{member}\n"]
    return "\n".join(lines)


def _members(module):
    """The module's `__all__`, from its source."""
    path = ROOT / module.replace(".", "/")
    path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    for node in ast.parse(path.read_text("utf-8")).body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "__all__":
            return ast.literal_eval(node.value)
    return []
