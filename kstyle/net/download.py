"""The one function that fetches a file: resumable, checked, and nothing half-written under the final name."""

import contextlib
import email.utils
import errno
import functools
import hashlib
import os
import random
import re
import shutil
import time
from pathlib import Path

import requests
import urllib3

from kstyle.errors import DataError
from kstyle.io.files import looks_like_html, plain
from kstyle.net import answers

try:
    import fcntl
except ImportError:  # Windows: two processes that fetch the same file at once are not kept apart there
    fcntl = None

BACKOFF = 0.5  # seconds before the first retry; doubled each time
LONGEST_WAIT = 60.0  # seconds, also for a server's Retry-After
CONNECT_RETRIES = 2  # retries while the host cannot be reached at all: a dead host stays dead
CHUNK = 1 << 16  # bytes; what a broken connection costs at most
MOST_BYTES = 2 << 30  # of a file of which nothing else is known; the largest weights have a quarter
LEAST_RATE, WINDOW = 1000, 60.0  # bytes a second that must come, on average over so many seconds
LONGEST = 6 * 3600.0  # seconds for a file in all

WEB_PAGE = "the server sent a web page in place of the file"
_FAULTS = (requests.RequestException, urllib3.exceptions.HTTPError, OSError)
# No such URL, a forged certificate, a redirect to itself: trying again changes nothing.
_HOPELESS = (ValueError, requests.exceptions.SSLError, requests.TooManyRedirects)
_UNREACHED = {"NewConnectionError", "ConnectTimeoutError", "NameResolutionError", "ProxyError"}
_WORDS = {  # exceptions of urllib3 and below, in words
    "ConnectTimeoutError": "no connection within the time limit",
    "ReadTimeoutError": "the server stalled beyond the time limit",
    "NameResolutionError": "the host's name is not known (no network?)",
    "ConnectionRefusedError": "connection refused",
    "IncompleteRead": "the connection ended early",
}


class _Failed(Exception):
    """An attempt failed. `final`: another would too; `wait`: seconds the server asked for; `reached`: it was there."""

    def __init__(self, reason, *, final=False, wait=0.0, reached=True):
        super().__init__(reason)
        self.final, self.wait, self.reached = final, wait, reached


def fetch(
    url, target, *, sha256=None, md5=None, progress=None, timeout=(10, 30), retries=5, headers=None, most=MOST_BYTES
):  # fmt: skip
    """Fetch a file over HTTP.

    The bytes go to `target` + `.part`, which a further attempt or a later call continues, and are renamed once all
    are there and checked. Of several processes that want one target, one fetches and the others wait and share it.
    A target that is there already is returned as it is, if its checksum fits or none is given.

    Args:
        url: `http://` or `https://`; redirects are followed.
        target: where the file goes; its folder is made.
        sha256, md5: hex checksum of the file; of sha256 the first 8 or more digits do, as in PyTorch's file names.
        progress: called as `progress(done, total or None)` in bytes; if it raises, the `.part` stays.
        timeout: seconds to connect, seconds without a byte.
        retries: attempts after the first, where that may help (of an unreachable host, at most `CONNECT_RETRIES`).
        headers: of the request, e.g. `{"User-Agent": …}`.
        most: bytes that the file may have. A larger one is refused, and nothing is kept of it.

    Returns: `target` as a `Path`.

    Raises:
        DataError: one line with the file, the URL and what happened last. After a wrong checksum nothing is kept.
    """
    target = Path(target)
    part = target.with_name(target.name + ".part")
    sums = {kind: value.lower() for kind, value in (("sha256", sha256), ("md5", md5)) if value}
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with _locked(part) as file:
            if not target.exists() or misfit(target, sums):
                with _no_full_disk_left(part):
                    _until_whole(retries, url, file, sums, progress or (lambda *_: None), timeout, headers or {}, most)
                if fcntl is None:
                    file.close()  # Windows renames no open file
                os.replace(part, target)
    except _Failed as error:
        raise DataError(f"{target.name} could not be fetched from {url}: {error}.") from error.__cause__
    except OSError as error:
        raise DataError(f"{target} could not be written ({error.strerror or error}), to hold {url}.") from error
    return target


def misfit(path, sums):
    """What is wrong with a file's checksums, `{"sha256" or "md5": hex digits it starts with}`, or None."""
    for kind, expected in sums.items():
        with open(path, "rb") as file:
            found = hashlib.file_digest(file, functools.partial(hashlib.new, kind, usedforsecurity=False)).hexdigest()
        if not found.startswith(expected):
            return f"its {kind} is {found}, not {expected}"
    return None


@contextlib.contextmanager
def _locked(part):
    """The .part file opened for appending, ours alone until the block ends; empty, it goes with it."""
    while True:
        file = open(part, "ab")  # noqa: SIM115 - closed below
        with contextlib.suppress(OSError):  # a network drive may know no locks
            if fcntl:
                fcntl.flock(file, fcntl.LOCK_EX)
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(file.fileno()), os.stat(part)):
                break
        file.close()  # while we waited, its owner renamed or deleted it
    try:
        yield file
    finally:
        with contextlib.suppress(FileNotFoundError):
            if os.path.getsize(part) == 0:
                part.unlink()
        file.close()


@contextlib.contextmanager
def _no_full_disk_left(part):
    """What filled a disk is dropped: others need the room."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, getattr(errno, "EDQUOT", None)):
            with contextlib.suppress(OSError):
                os.truncate(part, 0)
        raise


def _until_whole(retries, url, file, sums, *rest):
    """Attempt until the file is whole and its checksum fits."""
    stale = file.tell() > 0  # what an earlier call left may be of another version
    failed, end = 0, time.monotonic() + LONGEST
    while True:
        try:
            _attempt(url, file, sums, *rest, end)
        except _Failed as error:
            failed += 1
            if error.final or failed > (retries if error.reached else min(retries, CONNECT_RETRIES)):
                raise _Failed(f"{error} (attempt {failed})") from error.__cause__
            wait = BACKOFF * 2 ** (failed - 1) * random.uniform(0.75, 1.25)  # apart from others that failed with us
            time.sleep(min(max(wait, error.wait), LONGEST_WAIT))
            continue
        wrong = misfit(file.name, sums)
        if not wrong:
            return
        _empty(file)
        if not stale:
            raise _Failed(f"{wrong}; nothing was kept")
        stale = False


def _attempt(url, file, sums, progress, timeout, headers, most, end):
    """One request, continued where the file ends."""
    have = file.tell()
    # Compressed on the way, neither lengths nor ranges would be the file's.
    headers = {"Accept-Encoding": "identity", **headers}
    if have:
        headers["Range"] = f"bytes={have}-"
        if not sums:  # then only the date, set below, tells another version's first half
            headers["If-Range"] = email.utils.formatdate(os.path.getmtime(file.name), usegmt=True)
    try:
        with requests.Session() as session:
            for scheme in ("http://", "https://"):
                session.mount(scheme, answers.Adapter())
            response = session.get(url, headers=headers, stream=True, timeout=timeout)
    except _FAULTS as error:
        raise fault(error) from error
    with response:
        status = response.status_code
        says = f"the server says {status} {plain(response.reason or '')}".rstrip()
        # "bytes 5-9/10", or "bytes */10" with 416
        span = re.match(r"bytes (?:(\d+)-\d+|\*)/(\d+)?", response.headers.get("Content-Range", ""))
        first, total = [part and int(part) for part in span.groups()] if span else (None, None)
        if status == 416 and have and total == have and sums:
            return  # it is all here; the checksum decides
        if (status == 416 and have) or (status == 206 and first != have):
            _empty(file)
            raise _Failed(f"{says} to a request for bytes from {have}")
        if status in (408, 425, 429) or status >= 500:
            wait = 0.0
            with contextlib.suppress(urllib3.exceptions.InvalidHeader):
                wait = urllib3.Retry().parse_retry_after(response.headers.get("Retry-After", "0"))
            raise _Failed(says, wait=wait)
        if status not in (200, 206):
            raise _Failed(says, final=True)
        if response.headers.get("Content-Type", "").lower().startswith("text/html"):
            raise _Failed(WEB_PAGE, final=True)
        packing = answers.packing(response.headers, Path(file.name).name.removesuffix(".part"))
        if packing and packing not in answers.PACKED:
            raise _Failed(f"the server sent it packed as {plain(packing, 20)}, which was not asked for", final=True)
        if packing and status == 206:  # a piece of something else than the file
            _empty(file)
            raise _Failed(f"the server sent a piece of it packed as {packing}")
        if status == 200:
            _empty(file)
            length = response.headers.get("Content-Length", "")
            total = int(length) if length.isdigit() else None
        _check_room(file, total, most)
        try:
            _receive(response.raw, file, total, progress, bool(packing), most, end)
        except _Failed:
            if packing:  # no piece of it can be asked for
                _empty(file)
            raise
        finally:
            file.flush()
            os.fsync(file.fileno())
            with contextlib.suppress(LookupError, TypeError, ValueError, OverflowError):
                changed = email.utils.parsedate_to_datetime(response.headers["Last-Modified"]).timestamp()
                os.utime(file.name, (changed, changed))  # for If-Range, should this .part be continued


def _check_room(file, total, most):
    if total is None:
        return
    if total > most:
        _empty(file)
        raise _Failed(f"it has {total:,} bytes, and may have {most:,}", final=True)
    need, free = total - file.tell(), shutil.disk_usage(os.path.dirname(os.path.abspath(file.name))).free
    if need > free:
        raise _Failed(f"it takes {need:,} bytes more, and the disk has {free:,} free", final=True)


def _receive(raw, file, total, progress, packed, most, end):
    read = getattr(raw, "read1", raw.read)  # what has come, however little; urllib3 1 has no read1
    since, had = time.monotonic(), file.tell()
    while True:
        try:
            chunk = read(CHUNK, decode_content=packed)
        except _FAULTS as error:
            raise fault(error, f" after {file.tell()} of {total or 'unknown'} bytes") from error
        if not chunk:
            break
        if file.tell() == 0 and looks_like_html(chunk):
            raise _Failed(WEB_PAGE, final=True)
        if file.tell() + len(chunk) > most:
            _empty(file)
            raise _Failed(f"it has more than the {most:,} bytes that it may have", final=True)
        file.write(chunk)
        progress(file.tell(), None if packed else total)
        now = time.monotonic()
        if now > end:
            raise _Failed(f"it took more than {LONGEST:.0f} s", final=True)
        if now - since > WINDOW:
            if file.tell() - had < LEAST_RATE * WINDOW:
                raise _Failed(f"less than {LEAST_RATE} bytes a second came, {file.tell()} in all")
            since, had = now, file.tell()
    came = raw.tell() if packed else file.tell()
    if total is not None and came != total:
        raise _Failed(f"the connection ended after {came} of {total} bytes")


def _empty(file):
    file.seek(0)
    file.truncate()


def fault(error, where=""):
    """The `_Failed` for a connection fault, whose cause requests wraps in up to four exceptions."""
    names, cause = [], error
    while cause is not None and len(names) < 9:
        names.append(type(cause).__name__)
        innermost = cause
        inner = [getattr(cause, "reason", None), *reversed(cause.args), cause.__cause__, cause.__context__]
        cause = next((c for c in inner if isinstance(c, BaseException)), None)
    words = [_WORDS[name] for name in reversed(names) if name in _WORDS] or [plain(innermost, 120).rstrip(".")]
    return _Failed(words[0] + where, final=isinstance(error, _HOPELESS), reached=not _UNREACHED & set(names))
