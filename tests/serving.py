"""The server of `kstyle serve` for tests: in this process without one that paints, and as the program that it is."""

import contextlib
import hashlib
import io
import os
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx2 as httpx
import numpy as np
import uvicorn
import yaml
from pictures import SHALLOW, smooth
from PIL import Image
from starlette.testclient import TestClient

from kstyle.pictures import images
from kstyle.serve.app import app
from kstyle.serve.pictures import Pictures
from kstyle.serve.queue import Queue

# Of a painting whose steps take long: those of the process that paints, while a file is there.
SLOWLY = """
import time
from pathlib import Path
from kstyle.serve import worker

step, slow = worker._Look.step, Path(__file__).with_name("slow")


def slowly(self, now):
    if slow.exists():
        time.sleep(0.3)
    return step(self, now)


worker._Look.step = slowly
"""
ADDRESS = "http://127.0.0.1:8765"  # of a server that does not listen
OURS = {"X-Kstyle": "1"}  # what the page sends with what changes something
ROOT = Path(__file__).parents[1]


def png(height=48, width=64, seed=0):
    """A PNG's bytes, others for another seed."""
    noise = np.random.default_rng(seed).random((height, width, 3)) / 10
    stream = io.BytesIO()
    images.to_pil(smooth(height, width) + noise).save(stream, "PNG")
    return stream.getvalue()


def application(folder, token=None, **options):
    """`(application, queue)` on a folder; nothing is painted."""
    pictures = Pictures(folder / "pictures")
    queue = Queue(folder, pictures, **options)
    return app(queue, pictures, token), queue


class Place:
    """A server without a process that paints: `client`, and two pictures that were sent."""

    def __init__(self, folder):
        self.folder = folder
        self.app, self.queue = application(folder)
        self.client = TestClient(self.app, ADDRESS, headers=OURS)
        self.content, self.style = self.send(png()).json()["id"], self.send(png(seed=1)).json()["id"]

    def send(self, data, name="cat.png", **options):
        return self.client.put("/api/pictures", params={"name": name}, content=data, **options)

    def begin(self, **settings):
        asked = {"content": self.content, "styles": [self.style], "size": 64, "steps": 3, **settings}
        return self.client.post("/api/jobs", json=asked)


def refused(answer, *codes):
    """An answer of no with one line, which names no file of the server's."""
    assert answer.status_code in codes, (answer.status_code, answer.text[:200])
    line = answer.json()["error"]
    assert line and "\n" not in line and "Traceback" not in line
    return line


@contextlib.contextmanager
def listening(application):
    """`with listening(app) as address:` it answers at `http://…`, on a thread of its own."""
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as listener:
        server = uvicorn.Server(uvicorn.Config(application, log_level="error", timeout_graceful_shutdown=1))
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


class Program:
    """`kstyle serve` of a folder, with the preset `shallow`.

    Args:
        folder: the server's; a plugin is written beside it. Steps are slow while there is a file `slow` beside it.
        options: further ones.
    """

    def __init__(self, folder, *options):
        self.folder = folder
        plugin = folder.parent / "shallow.py"
        preset = yaml.safe_load(SHALLOW)
        plugin.write_text(f"import kstyle\n\nkstyle.settings.register_preset('shallow', {preset!r})\n{SLOWLY}")
        command = [sys.executable, "-m", "kstyle", "serve", str(folder), "--port", "0", "--plugin", str(plugin)]
        self.process = subprocess.Popen(
            [*command, "--save-seconds", "0", *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            cwd=folder.parent, env=_environment(),
        )  # fmt: skip
        self.link = self.process.stdout.readline().strip()
        self.client = httpx.Client(base_url=self.link, headers=OURS, timeout=60)

    def send(self, data, name="picture.png"):
        """Sends a picture; its id."""
        answer = self.client.put("/api/pictures", params={"name": name}, content=data)
        assert answer.status_code == 201, answer.text
        assert answer.json()["id"] == hashlib.sha256(data).hexdigest()[:32]
        return answer.json()["id"]

    def begin(self, **settings):
        """Asks for a painting in the shallow preset; the job."""
        asked = {"preset": "shallow", "size": 64, "content": self.send(png()), **settings}
        answer = self.client.post("/api/jobs", json={"styles": [self.send(png(seed=1))], **asked})
        assert answer.status_code == 201, answer.text
        return answer.json()

    def post(self, job, what, body=None, status=200):
        """Asks for something of a job: what it is told."""
        answer = self.client.post(f"/api/jobs/{job['id']}/{what}", json=body or {})
        assert answer.status_code == status, answer.text
        return answer.json()

    def job(self, job):
        """As it is now."""
        return self.client.get(f"/api/jobs/{job['id']}").json()

    def wait(self, job, condition, seconds=120):
        """The job, as soon as `condition(job)` holds."""
        end = time.monotonic() + seconds
        while not condition(now := self.job(job)):
            assert time.monotonic() < end, now
            time.sleep(0.05)
        return now

    def ended(self, job):
        """The job, when it is not painted any more."""
        return self.wait(job, lambda job: job["state"] not in ("waiting", "painting"))

    def worker(self):
        """The number of the process that paints."""
        import psutil

        return psutil.Process(self.process.pid).children()[0].pid

    def end(self, number=signal.SIGINT):
        """Ends it by a signal: its exit code, and what it said."""
        self.client.close()
        self.process.send_signal(number)
        _, said = self.process.communicate(timeout=120)
        return self.process.returncode, said


def _environment():
    """Of programs whose pictures are compared: with one thread each. torch divides its work, and so rounds, by how
    busy the machine is."""
    path = os.pathsep.join([str(ROOT), *sys.path])
    return {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}


def by_command(command, path):
    """Paints by the command line that a job shows, to a path. Returns its words."""
    words = shlex.split(command)
    assert words[:2] == ["kstyle", "stylize"]
    run = [sys.executable, "-m", *words, "-o", str(path), "-q"]
    done = subprocess.run(run, capture_output=True, text=True, env=_environment())
    assert not done.returncode, done.stderr
    return words


def chunks(data):
    """{type: bytes} of a PNG's chunks, those of one type together."""
    found, place = {}, 8
    while place < len(data):
        length = int.from_bytes(data[place : place + 4], "big")
        kind = data[place + 4 : place + 8]
        found[kind] = found.get(kind, b"") + data[place + 8 : place + 8 + length]
        place += 12 + length
    return found


def opened(data):
    """The picture in some bytes, (H, W, 3) uint8."""
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
