"""One download of many: a request, its answer judged, its body received under a passing name."""

import contextlib
import hashlib
import os
import threading
import time
import urllib.parse
from dataclasses import dataclass
from pathlib import Path

import requests
import urllib3

import kstyle
from kstyle.errors import DataError
from kstyle.io.files import looks_like_html, plain
from kstyle.net import answers, download

FILE_SECONDS = 120  # for one file, from the first byte to the last
MOST_BYTES = 50_000_000  # of one file
HOPS = 5  # redirects of one download
DECODERS = 4  # files looked into at once: a picture of 100 million pixels takes 300 MB

_HEADERS = {"User-Agent": f"kstyle/{kstyle.__version__}", "Accept-Encoding": "identity"}
_FAULTS = (requests.RequestException, urllib3.exceptions.HTTPError, OSError, ValueError)
_MOVED = (301, 302, 303, 307, 308)
_GONE = (404, 410)


@dataclass(frozen=True)
class Received:
    """A file that came and was accepted, under a passing name: the caller renames it.

    Attributes:
        path: where it is.
        size: bytes.
        time: when it was written, nanoseconds as in `os.stat_result.st_mtime_ns`.
        sha1: of its contents, in hex.
    """

    path: Path
    size: int
    time: int
    sha1: str


class Trouble(Exception):
    """A request failed.

    Attributes:
        again: another may not.
        lasting: it would fail another day too.
        wait: seconds for which the host wants to be left alone; None if it did not say so.
        answered: an HTTP status came.
        reached: at least a connection was made.
    """

    def __init__(self, reason, *, again=False, lasting=False, wait=None, answered=True, reached=True):
        super().__init__(reason)
        self.again, self.lasting, self.wait, self.answered, self.reached = again, lasting, wait, answered, reached


class Client:
    """What requests of all threads share: connections, at most `per_host` to a host, and what was learned on the way.

    Args: as `kstyle.data.lists.crowd.fetch_all`.
    """

    def __init__(self, accept, unwanted, per_host, timeout):
        self.accept, self.unwanted, self.timeout = accept, unwanted, timeout
        self.stopped = False
        self._decoding = threading.Semaphore(DECODERS)
        self._routes = {}  # {host: proxies and certificates}, by the environment
        self._dead_ends = {}  # {URL that redirects led to: reason}
        # The pool keeps to `per_host` with idle connections included.
        self._adapter = answers.Adapter(pool_connections=64, pool_maxsize=per_host, pool_block=True)

    def close(self):
        """Ends what is under way, with a `Trouble`, at its next byte."""
        self.stopped = True
        self._adapter.close()

    def get(self, url, hops, part):
        """One request.

        Args:
            url: of http or https.
            hops: redirects that led to it.
            part: path to write to.

        Returns:
            A `Received`, or the URL that the request is redirected to.

        Raises:
            Trouble: it failed; there may be something in `part`.
            OSError: `part` cannot be written.
        """
        try:
            request = requests.Request("GET", url, headers=_HEADERS).prepare()
            response = self._adapter.send(request, timeout=self.timeout, **self._route_to(url))
        except _FAULTS as error:
            raise _fault(error, answered=False) from error
        with response:
            packing = answers.packing(response.headers)
            if packing and packing not in answers.PACKED:
                raise Trouble(f"the server sent it packed as {plain(packing, 20)}, which was not asked for")
            pieces = self._pieces(response.raw, bool(packing))
            if response.status_code != 200:
                _read_out(pieces)
            if response.status_code in _MOVED and "Location" in response.headers:
                return self._moved(url, hops, response.headers["Location"])
            _check_status(response)
            length = response.headers.get("Content-Length", "")
            length = int(length) if length.isdigit() and not packing else None
            size, sha1 = _receive(pieces, length, part)
        if reason := self.unwanted.get(sha1):
            if hops:
                self._dead_ends[url] = reason
            raise Trouble(reason, lasting=True)
        try:
            with self._decoding:
                self.accept(part)
        except DataError as error:  # without a length, this may have been half of it
            raise Trouble(str(error).rstrip("."), again=length is None, lasting=length is not None) from error
        return Received(part, size, os.stat(part).st_mtime_ns, sha1)

    def _route_to(self, url):
        host = host_of(url)
        if host not in self._routes:
            with requests.Session() as session:
                self._routes[host] = session.merge_environment_settings(url, {}, True, None, None)
        return self._routes[host]

    def _pieces(self, raw, packed):
        deadline = time.monotonic() + FILE_SECONDS
        # read1 gives what has come, so that a server that drips is seen to be late; urllib3 1 has no read1.
        read = getattr(raw, "read1", raw.read)
        while True:
            if self.stopped:
                raise Trouble("it was interrupted", again=True)
            if time.monotonic() > deadline:
                raise Trouble(f"it took more than {FILE_SECONDS} s", again=True)
            try:
                piece = read(download.CHUNK, decode_content=packed)
            except _FAULTS as error:
                raise _fault(error, answered=True) from error
            if not piece:
                return
            yield piece

    def _moved(self, url, hops, location):
        if hops >= HOPS:
            raise Trouble(f"more than {HOPS} redirects")
        try:
            url = urllib.parse.urljoin(url, location)
        except ValueError:
            raise Trouble(f"it is redirected to '{plain(location)}'") from None
        if url in self._dead_ends:
            raise Trouble(self._dead_ends[url], lasting=True)
        host_of(url)
        return url


def host_of(url):
    """Host, and port where one is given: what connections are counted by.

    Raises:
        Trouble: no http or https URL.
    """
    with contextlib.suppress(ValueError):
        split = urllib.parse.urlsplit(url)
        if split.scheme in ("http", "https") and split.hostname:
            return f"{split.hostname}:{split.port}" if split.port else split.hostname
    raise Trouble(f"'{plain(url)}' is no http or https URL", lasting=True)


def _fault(error, answered):
    fault = download.fault(error)
    return Trouble(str(fault), again=not fault.final, answered=answered, reached=answered or fault.reached)


def _read_out(pieces):
    """Reads the little that comes with an answer other than the file, so that the connection can be used again."""
    with contextlib.suppress(Trouble):
        for _ in zip(range(4), pieces):
            pass


def _check_status(response):
    status, headers = response.status_code, response.headers
    says = f"the server says {status} {plain(response.reason or '')}".rstrip()
    if status == 429 or (status >= 500 and "Retry-After" in headers):
        wait = 0.0
        with contextlib.suppress(urllib3.exceptions.InvalidHeader):
            wait = urllib3.Retry().parse_retry_after(headers.get("Retry-After", "0"))
        raise Trouble(says, again=True, wait=min(wait, download.LONGEST_WAIT))
    if status in (408, 425) or status >= 500:
        raise Trouble(says, again=True)
    if status != 200:
        raise Trouble(says, lasting=status in _GONE)
    if headers.get("Content-Type", "").lower().startswith("text/html"):
        raise Trouble(download.WEB_PAGE)


def _receive(pieces, length, part):
    """Writes a body of `length` bytes (None: not known) to `part`; returns its size and SHA-1."""
    if (length or 0) > MOST_BYTES:
        raise Trouble(f"it has {length:,} bytes, the limit is {MOST_BYTES:,}", lasting=True)
    size, digest = 0, hashlib.sha1(usedforsecurity=False)
    with open(part, "wb") as file:
        for piece in pieces:
            if not size and looks_like_html(piece):
                raise Trouble(download.WEB_PAGE)
            size += len(piece)
            if size > MOST_BYTES:
                raise Trouble(f"it has more than {MOST_BYTES:,} bytes", lasting=True)
            digest.update(piece)
            file.write(piece)
    if length is not None and size != length:
        raise Trouble(f"the connection ended after {size} of {length} bytes", again=True)
    return size, digest.hexdigest()
