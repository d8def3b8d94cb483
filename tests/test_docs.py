"""The docs against the code: blocks that run, messages, variables, links, and what the site shows of the API."""

import ast
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = {
    path.relative_to(ROOT).as_posix(): path.read_text("utf-8")
    for path in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
}
# A block of code below this mark runs as it stands: Python here, a shell's where photo.jpg and painting.jpg are. What
# the mark says after `with` is added to each `kstyle stylize`, so that it takes no time.
RUNS = re.compile(r"^<!-- runs(?: with (.*?))? -->\n```(python|sh)\n(.*?)^```$", re.M | re.S)
BLOCKS = [(page, *found) for page, text in PAGES.items() for found in RUNS.findall(text)]


@pytest.fixture
def workplace(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for wanted, given in (("photo", "chelsea"), ("painting", "night")):
        shutil.copy(ROOT / f"examples/{given}.jpg", f"{wanted}.jpg")
    return tmp_path


@pytest.mark.parametrize(("page", "options", "language", "code"), BLOCKS)
def test_blocks_run(page, options, language, code, workplace, command):
    """Failure: what a reader copies from the docs is an error."""
    if language == "python":
        exec(compile(code, page, "exec"), {"__name__": "block"})
        return
    code = re.sub(r"^(kstyle stylize [^#\n]*)", rf"\1 {options} ", code, flags=re.M)
    if re.fullmatch(r"(kstyle [^|>$]*\n)+", code):  # here, where a framework is loaded already
        for line in code.splitlines():
            status, _, errors = command(*shlex.split(line, comments=True)[1:])
            assert not status, errors
        return
    program = f'kstyle() {{ "{sys.executable}" -m kstyle "$@"; }}\n'
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        ["bash", "-e", "-c", program + code], cwd=workplace, env=environment, capture_output=True, text=True
    )
    assert not done.returncode, done.stderr


def test_enough_blocks_run():
    """Failure: the mark is spelt otherwise than the test reads it, and nothing is run."""
    assert len(BLOCKS) == sum(len(re.findall("^<!-- runs", text, re.M)) for text in PAGES.values()) >= 5


def strings():
    """All texts in kstyle's code, with … for what is put into them."""
    for path in sorted((ROOT / "kstyle").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.JoinedStr):
                yield "".join(part.value if isinstance(part, ast.Constant) else "…" for part in node.values)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.value


def test_messages_are_those_of_the_code():
    """Failure: who looks up a message in docs/troubleshooting.md does not find it, since it says something else now."""
    said = re.findall(r"^\* `(.*)`$", PAGES["docs/troubleshooting.md"], re.M)
    assert len(said) > 25
    there = [text for text in strings() if len(text) > 15]
    for message in said:
        pieces = [re.escape(piece.strip()) for piece in message.split("…") if piece.strip()]
        pattern = re.compile(".*".join(pieces), re.S)
        assert any(pattern.search(text) for text in there), message


def test_variables_are_told():
    """Failure: an environment variable changes what kstyle does, and no page says so."""
    text = PAGES["docs/environment.md"]
    own = {"PYTHONPATH", "PYTHONWARNINGS"}  # passed on, with more in them, to processes that kstyle starts
    read = set()
    for path in (ROOT / "kstyle").rglob("*.py"):
        for line in path.read_text("utf-8").splitlines():
            if "environ" in line or "envvar" in line:
                read |= set(re.findall(r'"([A-Z][A-Z0-9_]{3,})"', line))
    assert len(read) > 15
    assert not [name for name in sorted(read - own) if f"`{name}`" not in text]


def anchor(title):
    """What a heading is called in links, on GitHub and on the site alike."""
    return re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-")


def test_links():
    """Failure: a link in the docs leads to no file, or to no heading of it."""
    for page, text in PAGES.items():
        prose = re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S)
        for target in re.findall(r"\]\(([^)\s]+)\)", prose):
            if target.startswith("http"):
                continue
            name, _, heading = target.partition("#")
            path = (ROOT / page).parent / name if name else ROOT / page
            assert path.exists(), f"{page}: {target}"
            if heading:
                titles = re.findall(r"^#+ (.*)$", path.read_text("utf-8"), re.M)
                assert heading in map(anchor, titles), f"{page}: {target}"
