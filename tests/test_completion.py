"""Tab in bash completes values; help in sections."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
BASH = shutil.which("bash")


@pytest.fixture
def tab(tmp_path):
    """`tab("kstyle stylize --preset ga")` -> what bash would offer for the last word."""
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin/kstyle"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m kstyle "$@"\n')
    program.chmod(0o755)
    search = os.pathsep.join([str(tmp_path / "bin"), os.environ["PATH"]])
    environment = {**os.environ, "PATH": search, "PYTHONPATH": str(ROOT)}

    def tab(line):
        words = line.split(" ")
        script = (
            'source <(kstyle completion bash); compopt() { COMPREPLY+=("$*"); }\n'
            'COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _kstyle_completion kstyle; printf "%s\\n" "${COMPREPLY[@]}"'
        )
        done = subprocess.run(
            [BASH, "-c", script, "bash", *words],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        assert not done.stderr
        return done.stdout.split("\n")[:-1]

    return tab


@pytest.mark.skipif(not BASH, reason="bash is not here")
def test_bash(tab, tmp_path):
    """Failure: Tab offers nothing in bash, something else than there is, or hides files that may stand there."""
    assert tab("kstyle styli") == ["stylize"]
    assert tab("kstyle stylize a.jpg b.jpg --preset gat") == ["gatys", "gatys-2017", "gatys-paper"]
    assert tab("kstyle stylize a.jpg b.jpg -p ./own") == ["-o", "default"]  # bash's own, of files
    assert tab("kstyle batch in --colour lum") == ["luminance", "luminance-matched", "luminance-after"]
    assert tab("kstyle train digits") == ["digits_cnn"]
    (tmp_path / "runs/digits-1").mkdir(parents=True)
    (tmp_path / "runs/digits-1/run.json").write_text("{}")
    assert tab("kstyle evaluate ") == ["runs/digits-1"]


@pytest.mark.parametrize(
    ("line", "offered"),
    [("--plugin mine.py --preset g", "plain,gatys\n"), ("--device cpu --extractor vgg1", "plain,vgg16\n")],
)
def test_completing_runs_nothing(line, offered, tmp_path):
    """Failure: a key pressed runs a plugin, or waits seconds for a framework to load."""
    (tmp_path / "mine.py").write_text("import pathlib; pathlib.Path('ran').touch()")
    code = (
        "import sys; from kstyle.cli import main\n"
        "try: main([])\n"
        "except SystemExit: pass\n"
        "print({'keras', 'torch', 'jax', 'tensorflow'} & set(sys.modules), file=sys.stderr)"
    )
    words = f"kstyle stylize a.jpg b.jpg {line}".split()
    asked = {"_KSTYLE_COMPLETE": "bash_complete", "COMP_WORDS": "\n".join(words), "COMP_CWORD": str(len(words) - 1)}
    environment = {**os.environ, **asked, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.stderr == "set()\n" and offered in done.stdout
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("shell", "said"), [("zsh", "#compdef kstyle"), ("fish", "complete --no-files --command kstyle")]
)
def test_scripts_of_other_shells(shell, said, command):
    """Failure: zsh or fish is given what it cannot read."""
    code, out, _ = command("completion", shell)
    assert code == 0 and said in out


def test_help_in_sections(command):
    """Failure: an option of `stylize` is in no section, or in two; the examples are broken over lines."""
    from kstyle.cli.style.stylize import stylize

    code, out, _ = command("stylize", "--help")
    titles = [line for line in out.split("\n") if line.endswith(":") and not line.startswith(" ")]
    assert code == 0 and titles == ["Files:", "Look:", "Control:", "Run:", "Examples:"]
    for parameter in stylize.params:
        for name in parameter.opts:
            if name.startswith("--"):
                assert len(re.findall(rf"^  (?:-\S+, )?{name}(?=[ ,])", out, re.M)) == 1, name
    assert {name for names in stylize.sections.values() for name in names} <= {p.name for p in stylize.params}
    assert all(f"\n  {example}\n" in out for example in stylize.examples)
