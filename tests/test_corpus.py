"""Pillow's own corpus of odd and damaged pictures: KSTYLE_TEST_PILLOW names a folder of its Tests/images."""

import json
import os
import subprocess
import sys

import pytest

CORPUS = os.environ.get("KSTYLE_TEST_PILLOW")

# A process of its own: what it started, its memory and its time are its own too.
READ = """
import json, os, resource, sys, time, warnings

started = []
PROGRAMS = ("subprocess.Popen", "os.exec", "os.posix_spawn", "os.system", "os.fork", "os.startfile")
sys.addaudithook(lambda event, _: started.append(event) if event in PROGRAMS else None)
warnings.simplefilter("ignore")

from kstyle import images
from kstyle.data import opening
from kstyle.errors import KStyleError

seen = {}
for folder, _, names in sorted(os.walk(sys.argv[1])):
    for path in (os.path.join(folder, name) for name in sorted(names)):
        for reader, read in (("read", images.read), ("open_rgb", opening.open_rgb)):
            del started[:]
            before = time.process_time()
            try:
                read(path)
                said = ""
            except KStyleError as error:
                said = str(error)
            except Exception as error:
                said = f"\\n{type(error).__name__}: {error}"
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
            seen[f"{reader} {path}"] = said, list(started), time.process_time() - before, peak
print(json.dumps(seen))
"""


@pytest.mark.skipif(not CORPUS, reason="KSTYLE_TEST_PILLOW does not name a folder of Pillow's Tests/images")
def test_every_file_of_pillows_corpus_is_a_picture_or_one_clear_line():
    """Failure: a damaged or foreign file crashes a reader, starts a program, or takes all memory or time."""
    done = subprocess.run([sys.executable, "-c", READ, CORPUS], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-2000:]
    seen = json.loads(done.stdout)
    assert seen
    wrong, peak_before = {}, 0
    for name, (said, started, seconds, peak) in seen.items():
        faults = ["not one line: " + said] * ("\n" in said) + started + [f"{seconds:.1f} s"] * (seconds > 2)
        faults += [f"{peak} MB"] * (peak > 1000 and peak > peak_before)
        wrong |= {name: faults} if faults else {}
        peak_before = peak
    assert not wrong
