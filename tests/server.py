"""A local HTTP server with the bad manners that downloads meet: `with Server(body, ["truncate", "ok"]) as server:`."""

import contextlib
import gzip
import http.server
import re
import threading

from local_http import Listening


class Server(Listening):
    """Serves `body` on 127.0.0.1, at any path, on a thread of its own.

    Manners, one taken a request, the last one for ever:
        ok, no-range (200 whatever is asked), 404, 416, 500, 429 (Retry-After: 7), truncate (half of what is due, under
        the full Content-Length), stall (half, then nothing), drop (closes without an answer), html (typed),
        html-body (typed as binary), redirect (to /moved, once), loop (redirects for ever), wrong (other bytes),
        shifted (206 from one byte further on), gzip (packed for the way, unasked), slow (a header that never ends, a
        byte now and then), drip (a body like that), endless (a body without a length that does not end).

    Attributes:
        url: where it listens.
        requests: `[(path, headers)]` as they came.
        changed: what Last-Modified says; If-Range must match it.
    """

    def __init__(self, body, manners=("ok",)):
        self.body = body
        self.manners = list(manners)
        self.requests = []
        self.changed = "Wed, 01 Jan 2020 00:00:00 GMT"
        self.closing = threading.Event()
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                outer._answer(self)

            def log_message(self, *_):
                pass

        super().__init__(Handler)
        self.url = f"{self.address}/"

    def __exit__(self, *error):
        self.closing.set()
        super().__exit__(*error)

    def ranges(self):
        """What the requests asked for in Range, None where they did not."""
        return [headers.get("Range") for _, headers in self.requests]

    def _answer(self, request):
        self.requests.append((request.path, dict(request.headers)))
        manner = self.manners.pop(0) if len(self.manners) > 1 else self.manners[0]
        if manner == "drop":
            request.close_connection = True
        elif manner in ("404", "416", "500", "429"):
            self._send(request, int(manner), b"no", {"Retry-After": "7"} if manner == "429" else {})
        elif manner in ("html", "html-body"):
            kind = "text/html; charset=utf-8" if manner == "html" else "application/octet-stream"
            self._send(request, 200, b"\n<!DOCTYPE html><html>Please log in</html>", {"Content-Type": kind})
        elif manner == "gzip":
            self._send(request, 200, gzip.compress(self.body), {"Content-Encoding": "gzip"})
        elif manner == "slow":
            request.wfile.write(b"HTTP/1.1 200 OK\r\nX: ")
            self._pour(request, b"x", 0.02)
        elif manner in ("drip", "endless"):
            request.send_response(200)
            request.end_headers()
            self._pour(request, *{"drip": (b"x", 0.02), "endless": (bytes(1 << 16), 0)}[manner])
        elif manner in ("redirect", "loop"):
            self._send(request, 302, b"", {"Location": "/moved"})
        else:
            self._serve(request, manner)

    def _pour(self, request, piece, pause):
        with contextlib.suppress(OSError):
            while not self.closing.wait(pause):
                request.wfile.write(piece)
        request.close_connection = True

    def _serve(self, request, manner):
        body = bytes(255 - b for b in self.body) if manner == "wrong" else self.body
        asked = re.fullmatch(r"bytes=(\d+)-", request.headers.get("Range", ""))
        first = int(asked[1]) if asked and request.headers.get("If-Range") in (None, self.changed) else 0
        headers = {"Last-Modified": self.changed, "Content-Type": "application/octet-stream"}
        if manner == "no-range" or not first:
            self._send(request, 200, body, headers, manner)
            return
        if first >= len(body):
            self._send(request, 416, b"", {"Content-Range": f"bytes */{len(body)}"})
            return
        first += manner == "shifted"
        headers["Content-Range"] = f"bytes {first}-{len(body) - 1}/{len(body)}"
        self._send(request, 206, body[first:], headers, manner)

    def _send(self, request, status, body, headers, manner="ok"):
        request.send_response(status)
        for name, value in headers.items():
            request.send_header(name, value)
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        request.wfile.write(body[: len(body) // 2] if manner in ("truncate", "stall") else body)
        if manner == "stall":
            self.closing.wait(30)
