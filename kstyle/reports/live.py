"""The page of a run while it goes on, served to this machine alone."""

import http.server
import threading
import time
import urllib.parse

from kstyle.io.files import json_text
from kstyle.pages import charts, pictures, render
from kstyle.reports.words import clock

HOST = "127.0.0.1"
WATCHED = 5.0  # seconds after its last question for which a page counts as watched: it asks every second
EVERY, SHARE = 2.0, 0.05  # seconds between two pictures at least, and the share of the time that they may take
LOSSES = 0.25  # seconds between two looks at the losses, which wait for the device
SIDE = 1024  # long side of a picture, pixels
GOODBYE = 2.5  # seconds that a page which is watched has to fetch how it ended
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Frame-Options": "DENY",
}


class Live:
    """A page on a port of its own; a context manager, inside which it is served.

    What is shown is made in the server's threads, and only if somebody looks: a run that is not watched is not slowed.

    Args:
        template: of kstyle/pages/templates.
        values: a function that gives what the template is filled with beside what changes; called when the page is
            first asked for.

    Attributes:
        address: of the page.
    """

    state, last = "…", "Done."

    def __init__(self, template, values):
        self._template, self._values, self._filled = template, values, None
        self._lock, self._filling, self._goodbye = threading.Lock(), threading.Lock(), threading.Event()
        self._looked, self._ended, self._encoded = float("-inf"), False, (0, b"")
        self.version, self._rgb = 0, None

    def __enter__(self):
        live = self

        class Handler(_Handler):
            page = live

        self._server = http.server.ThreadingHTTPServer((HOST, 0), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        self.address = f"http://{HOST}:{self.port}/"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.2}, daemon=True).start()
        return self

    def __exit__(self, *error):
        self.end("Stopped." if error[0] else self.last)
        self._server.shutdown()
        self._server.server_close()

    @property
    def watched(self):
        """Whether a page has asked lately."""
        return time.monotonic() - self._looked < WATCHED

    def end(self, said):
        """The run has ended; a page that is watched has a moment to fetch that."""
        with self._lock:
            self.state, self._ended = said, True
        if self.watched:
            self._goodbye.wait(GOODBYE)

    def picture(self, rgb):
        """A newer picture, (H, W, 3) in [0, 1]."""
        with self._lock:
            self._rgb, self.version = rgb, self.version + 1

    def figures(self):
        """(what, value) pairs of how far it is."""
        return []

    def charts(self):
        """Of `kstyle.pages.charts`."""
        return []

    # What the server's threads call.

    def html(self):
        with self._filling:  # which may take a second: the run does not wait for it
            if self._filled is None:
                self._filled = self._values()
        with self._lock:
            now = {"figures": self.figures(), "charts": self.charts(), "live": True}
        return render.filled(self._template, **{**self._filled, **now})

    def json(self):
        with self._lock:
            told = {
                "state": self.state, "figures": self.figures(), "charts": self.charts(), "version": self.version,
                "ended": self._ended,
            }  # fmt: skip
            self._looked = time.monotonic()
        return json_text(told)

    def sent(self, path):
        """An answer has been sent: was it the last that a page waits for?"""
        if self._ended and path == ("/state.json" if self._rgb is None else "/picture"):
            self._goodbye.set()

    def webp(self):
        """The newest picture; b"" where there is none."""
        with self._lock:
            version, rgb = self.version, self._rgb
        if self._encoded[0] != version and rgb is not None:
            self._encoded = version, pictures.webp(pictures.fitted(rgb, SIDE))
        return self._encoded[1]


class LivePainting(Live):
    """Of a painting: `step` is to be called after each of its steps, `done` with its result."""

    state = "Painting …"

    def __init__(self, template, values):
        super().__init__(template, values)
        self._rows, self._step = [], None
        self._seen = self._pictured = float("-inf")
        self._takes = 0.0

    def step(self, step):
        """Takes a `kstyle.style.engine.loop.Step`."""
        began = time.monotonic()
        if began - self._seen > LOSSES or step.step + 1 == step.total:
            row = {"scale": step.scale, "step": step.step, **step.losses}
            with self._lock:
                self._rows.append(row)
                self._step = (step.step + 1, step.total, step.seconds)
            self._seen = time.monotonic()
        if self.watched and began - self._pictured > max(EVERY, self._takes / SHARE):
            began = time.monotonic()
            self.picture(step.image())
            self._pictured = time.monotonic()
            self._takes = self._pictured - began

    def done(self, result, stopped=False):
        """The `kstyle.Result`: what is shown last."""
        self.last = "Stopped." if stopped else "Done."
        if self.watched:
            self.picture(result.rgb)

    def figures(self):
        if self._step is None:
            return [("step", "0")]
        done, total, seconds = self._step
        last = self._rows[-1]
        left = seconds / done * (total - done)
        losses = [(name, f"{last[name]:.4g}") for name in last if name not in ("scale", "step")]
        return [
            ("step", f"{done:,} of {total:,}"), ("size", f"{last['scale']} px"), ("time", clock(seconds)),
            ("left, about", clock(left)), *losses,
        ]  # fmt: skip

    def charts(self):
        from kstyle.reports.painting import loss_chart

        return [loss_chart(self._rows)] if self._rows else []


class LiveTraining(Live):
    """Of a training: `look` and `epoch` are for `kstyle.train(look=…, callbacks=[…])`."""

    state = "Training …"

    def __init__(self, template, values, marks=()):
        super().__init__(template, values)
        self._rows, self._looks, self._look, self._marks = [], [], None, marks

    def look(self, look):
        """Takes a `kstyle.training.loop.fit.Look`."""
        with self._lock:
            self._look = look
            self._looks.append((look.epoch + look.batch / look.steps, look.loss))

    def epoch(self, epoch, logs):
        """After an epoch, counted from 0."""
        row = {name: float(value) for name, value in logs.items() if isinstance(value, (int, float))}
        with self._lock:
            self._rows.append({"epoch": epoch + 1, **row})

    def figures(self):
        now = self._look
        if now is None:
            return [("epoch", "0")]
        return [
            ("epoch", f"{now.epoch + 1} of {now.epochs}"), ("step", f"{now.batch:,} of {now.steps:,}"),
            ("loss", f"{now.loss:.4g}"), ("accuracy", f"{100 * now.accuracy:.1f} %"),
            ("pictures a second", f"{now.images_per_second:,.0f}"),
        ]  # fmt: skip

    def charts(self):
        from kstyle.reports import training

        if not self._looks:
            return []
        x, losses = zip(*self._looks)
        title = "Training loss, mean over the epoch so far"
        return [charts.chart(title, "epochs", x, {"loss": losses}), *training.curves(self._rows, self._marks)]


class _Handler(http.server.BaseHTTPRequestHandler):
    """Answers GET of three paths, to whoever reached it as this machine's own."""

    page: Live
    timeout = 10
    server_version, sys_version = "kstyle", ""

    def do_GET(self):
        # By another name in Host, a foreign page that has its name point here would read along (DNS rebinding).
        if self.headers.get("Host") not in (f"{HOST}:{self.page.port}", f"localhost:{self.page.port}"):
            self._answer(403, "text/plain", b"kstyle: another Host.\n")
            return
        path, status, kind, body = urllib.parse.urlsplit(self.path).path, 200, "", b""
        if path == "/":
            kind, body = "text/html; charset=utf-8", self.page.html().encode()
        elif path == "/state.json":
            kind, body = "application/json", self.page.json().encode()
        elif path == "/picture":
            kind, body = "image/webp", self.page.webp()
        if not body:
            status, kind, body = 404, "text/plain", b"kstyle: there is no such page.\n"
        self._answer(status, kind, body)
        self.page.sent(path)

    def _answer(self, status, kind, body):
        self.send_response(status)
        for name, value in {**HEADERS, "Content-Type": kind, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *said):
        pass


def of_painting(content, *styles):
    """A `LivePainting` of a content and styles: paths, or None for what cannot be shown."""
    from kstyle.reports import painting

    return LivePainting(painting.TEMPLATE, lambda: painting.begun(content, styles))


def of_training(recipe, folder):
    """A `LiveTraining` by a checked recipe; a run that goes on has it in its folder."""
    from kstyle.reports import training

    found = training.recipe_of(folder) if recipe is None else recipe
    return LiveTraining(training.TEMPLATE, lambda: training.begun(found), training.stages(found))
