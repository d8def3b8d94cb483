"""Answers of web servers that never come, or come packed without being asked to."""

import contextlib
import socket
import threading

import requests
import urllib3

HEADER_SECONDS = 60.0  # from a request to the end of its answer's header; a time limit of bytes starts anew with each
PACKED = ("gzip", "x-gzip", "deflate")  # that urllib3 always unpacks


class _Prompt:
    """A connection whose answers begin in time."""

    def getresponse(self, *arguments, **options):
        late, answer = threading.Event(), None

        def end(connected=self.sock):
            late.set()
            with contextlib.suppress(Exception):  # it may just have been closed
                socket.socket.shutdown(connected, socket.SHUT_RDWR)  # not TLS' own, which another thread is in

        timer = threading.Timer(HEADER_SECONDS, end)
        timer.daemon = True
        timer.start()
        try:
            answer = super().getresponse(*arguments, **options)
        except Exception:
            if not late.is_set():
                raise
        finally:
            timer.cancel()
        if late.is_set():  # a header that is cut short counts as a header
            if answer is not None:
                answer.close()
            raise TimeoutError("the header took too long")
        return answer


class _Http(_Prompt, urllib3.connection.HTTPConnection):
    pass


class _Https(_Prompt, urllib3.connection.HTTPSConnection):
    pass


class _HttpPool(urllib3.HTTPConnectionPool):
    ConnectionCls = _Http


class _HttpsPool(urllib3.HTTPSConnectionPool):
    ConnectionCls = _Https


class Adapter(requests.adapters.HTTPAdapter):
    """That of requests, whose answers' headers take no longer than `HEADER_SECONDS`, else they count as stalled."""

    def init_poolmanager(self, *arguments, **options):
        super().init_poolmanager(*arguments, **options)
        self.poolmanager.pool_classes_by_scheme = {"http": _HttpPool, "https": _HttpsPool}

    def proxy_manager_for(self, *arguments, **options):
        manager = super().proxy_manager_for(*arguments, **options)
        if not type(manager).__name__.startswith("SOCKS"):
            manager.pool_classes_by_scheme = {"http": _HttpPool, "https": _HttpsPool}
        return manager


def packing(headers, name=""):
    """How a body is packed for the way: "" if it is the file itself.

    Args:
        headers: of the answer.
        name: of the file: servers also call a `.gz` packed for the way, which is packed by itself.
    """
    how = headers.get("Content-Encoding", "").strip().lower()
    return "" if how == "identity" or (how.endswith("gzip") and name.endswith((".gz", ".tgz"))) else how
