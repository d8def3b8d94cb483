"""What only Unix has is missed nowhere: kstyle loads, and says what memory it took, as on Windows."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
WITHOUT = """
import builtins, importlib, pkgutil, signal, sys

GONE = {"resource", "fcntl", "pwd", "grp", "termios", "tty", "pty", "syslog", "readline"}
real = builtins.__import__

def there(name, globals=None, locals=None, fromlist=(), level=0):
    if name.partition(".")[0] in GONE and str((globals or {}).get("__name__")).startswith("kstyle"):
        raise ImportError(f"No module named '{name}'")
    return real(name, globals, locals, fromlist, level)

builtins.__import__ = there
del signal.SIGHUP, signal.SIGKILL

import kstyle

others = {"torch", "tensorflow", "jax"} - {kstyle.BACKEND}
for found in pkgutil.walk_packages(kstyle.__path__, "kstyle."):
    if found.name.removeprefix("kstyle.backend.") not in others and not found.name.endswith("__main__"):
        importlib.import_module(found.name)
from kstyle import backend
assert backend.memory()["peak"] > 2**20
assert sys.modules["kstyle.net.download"].fcntl is None
"""


def test_without_what_only_unix_has():
    """Failure: a module of kstyle's cannot be imported on Windows."""
    done = subprocess.run([sys.executable, "-c", WITHOUT], cwd=ROOT, capture_output=True, text=True)
    assert not done.returncode, done.stderr
