"""What all tests share, and the fixtures of batches and films."""

import os
import signal
import sys

# Workers of one machine (pytest -n) share its cores; and the number of threads, by which sums are divided and so
# rounded, is to stay as it is whatever else the machine does. NumPy and the frameworks read this as they are loaded, so
# it is said before anything below loads one.
if workers := int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", 1)):
    share = str(max(1, (os.cpu_count() or 1) // workers))
    told = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "PJRT_NPROC")
    for name in told:
        os.environ.setdefault(name, share)

import pytest
from batches import STYLE

from kstyle.io.files import legible

# Ctrl-C reaches the tests' programs, which a shell that starts the tests in the background would have ignore it.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport():
    """Workers send what a test printed as UTF-8, which names of files need not be."""
    report = yield
    report.sections = [(title, legible(text)) for title, text in report.sections]
    return report


@pytest.fixture(autouse=True)
def own_names(monkeypatch):
    """What a test adds to kstyle's names is gone after it."""
    from kstyle import config, plugins
    from kstyle.models import registry
    from kstyle.style.losses import scalings
    from kstyle.training.augment import policy
    from kstyle.training.schedules import rates

    # Nothing is added to these before Keras is loaded.
    of_keras = [sys.modules.get(f"kstyle.nn.{name}") for name in ("optimizers", "aims.losses", "aims.metrics")]
    for names in (
        scalings.STYLE,
        scalings.CONTENT,
        policy.NAMES,
        rates.NAMES,
        *map(config.added, config.KINDS),
        *[module.NAMES for module in of_keras if module],
    ):
        monkeypatch.setattr(names, "own", dict(names.own))
    monkeypatch.setattr(registry, "_ROWS", dict(registry._ROWS))
    monkeypatch.setattr(plugins, "_loaded", dict(plugins._loaded))
    monkeypatch.setattr(plugins, "_allowed", False)


@pytest.fixture
def command(capsys):
    """`command("stylize", …)` -> (exit code, stdout, stderr)."""
    from kstyle import cli

    def command(*arguments):
        with pytest.raises(SystemExit) as ended:
            cli.main(list(map(str, arguments)))
        return (ended.value.code or 0, *capsys.readouterr())

    return command


@pytest.fixture
def place(tmp_path, monkeypatch):
    """An empty folder to work in, with the preset beside it."""
    from pictures import SHALLOW

    (tmp_path / "shallow.yaml").write_text(SHALLOW)
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")
    return tmp_path


@pytest.fixture
def run(place, command):
    """`run("in", "--json")` -> (exit code, stdout, stderr) of a small batch into the folder `out`."""

    def run(*arguments, size=32, steps=1):
        options = ["--style", STYLE, "-o", "out", "-p", str(place / "shallow.yaml"), "--size", size, "--steps", steps]
        return command("batch", *arguments, *options)

    return run


@pytest.fixture
def painter(place):
    from kstyle.style import transfer

    return transfer.Painter(STYLE, place / "shallow.yaml", precision="float32", deterministic=True)
