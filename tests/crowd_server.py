"""A local stand-in for a host of photographs, at 127.0.0.1, localhost, 127.0.0.2, …: slow, and moody by the URL."""

import hashlib
import http.server
import io
import re
import threading
import time
from collections import Counter

from PIL import Image


def picture(number, size=(8, 8)):
    """The bytes of a PNG like no other number's."""
    stream = io.BytesIO()
    Image.new("RGB", size, (number % 256, number // 256, 7)).save(stream, "PNG")
    return stream.getvalue()


UNAVAILABLE = picture(65_535, (9, 9))  # stands for the picture that a photo which is gone is redirected to
UNWANTED = {hashlib.sha1(UNAVAILABLE).hexdigest(): "unavailable"}


class CrowdServer:
    """Serves `/MANNER/NUMBER.png`, the answer after `latency` seconds.

    Manners: a number N (status N for ever), flaky-N (status N, then ok), 429 and flaky-429 with Retry-After: 1, drop,
    flaky-drop, truncate, flaky-truncate, moved (to ok), gone (to the unavailable picture), html (a page called a
    picture), broken (half a picture as if it were all), drip (a byte now and then), big (claims a gigabyte), ok.

    Attributes:
        port: on every address.
        requests: `[(time, host, path)]` as they came.
        most: {host: most requests at a time}.
    """

    def __init__(self, latency=0.0):
        self.latency = latency
        self.requests, self.active, self.most, self.seen = [], Counter(), Counter(), set()
        self.lock = threading.Lock()
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = -1  # one packet an answer

            def do_GET(self):
                outer.answer(self)

            def log_message(self, *_):
                pass

        class Many(http.server.ThreadingHTTPServer):
            request_queue_size = 256
            daemon_threads = True

            def handle_error(self, *_):  # clients are killed on purpose
                pass

        # No other address takes in all of 127.0.0.0/8.
        self.open = lambda port=0: Many(("0.0.0.0", port), Handler)
        self.http = self.open()
        self.port = self.http.server_address[1]

    def __enter__(self):
        self.up = True
        threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.up = False
        self.http.shutdown()
        self.http.server_close()

    def restart(self, seconds):
        """Refuses and drops connections for so long."""
        self.__exit__()
        time.sleep(seconds)
        self.http = self.open(self.port)
        self.__enter__()

    def url(self, manner, number, host="127.0.0.1"):
        return f"http://{host}:{self.port}/{manner}/{number}.png"

    def asked(self, manner=""):
        """{path: how often it was asked for}, of one manner or all."""
        return Counter(path for _, _, path in self.requests if path.startswith(f"/{manner}"))

    def answer(self, request):
        host = request.headers["Host"].partition(":")[0]
        with self.lock:
            self.requests.append((time.monotonic(), host, request.path))
            self.active[host] += 1
            self.most[host] = max(self.most[host], self.active[host])
            first = request.path not in self.seen
            self.seen.add(request.path)
        time.sleep(self.latency)
        with self.lock:
            self.active[host] -= 1
        manner, number = re.fullmatch(r"/([\w-]+)/(\d+)\.png", request.path).groups()
        if manner.startswith("flaky-"):
            manner = manner.removeprefix("flaky-") if first else "ok"
        body, status, headers = picture(int(number)), 200, {"Content-Type": "image/png"}
        if manner.isdigit():
            status, body = int(manner), b"no"
            headers = {"Retry-After": "1"} if manner == "429" else {}
        elif manner in ("moved", "gone"):
            status, body = 302, b""
            headers = {"Location": f"/{'ok' if manner == 'moved' else 'unavailable'}/{number}.png"}
            if manner == "gone":
                headers = {"Location": "/unavailable/0.png"}
        elif manner == "unavailable":
            body = UNAVAILABLE
        elif manner == "html":
            body = b"\n<!DOCTYPE html><html>Please log in</html>"
        elif manner == "broken":
            body = body[: len(body) // 2]
        if manner == "drop" or not self.up:
            request.close_connection = True
            return
        request.send_response(status)
        for name, value in headers.items():
            request.send_header(name, value)
        request.send_header("Content-Length", str(10**9 if manner == "big" else len(body)))
        request.end_headers()
        if manner == "drip":
            for byte in body:
                request.wfile.write(bytes([byte]))
                request.wfile.flush()
                time.sleep(0.02)
            return
        if manner == "truncate":
            body, request.close_connection = body[: len(body) // 2], True
        request.wfile.write(body)
