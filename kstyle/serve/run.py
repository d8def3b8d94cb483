"""`kstyle serve` from its first line to its last: the folder, the socket, the server, and the signals that end it."""

import asyncio
import contextlib
import errno
import os
import secrets
import socket
from pathlib import Path

from kstyle.errors import DataError, UsageError
from kstyle.io import files, locks, signals
from kstyle.io.files import one_line
from kstyle.serve.guard import is_loopback

LOG = "log.txt"
MOST_CONNECTIONS = 200
PATIENCE = 3  # seconds that answers in work have when the server ends
SHORTEST = 16  # characters of a token


def token_for(host):
    """The token that a server on `host` asks for: None on this machine's own addresses, else `KSTYLE_TOKEN` of the
    environment, or a new one. UsageError: that one is too short."""
    given = os.environ.get("KSTYLE_TOKEN")
    if given is None:
        return None if is_loopback(host) else secrets.token_urlsafe(24)
    if len(given) < SHORTEST or not given.isascii() or not given.isalnum():
        raise UsageError(f"KSTYLE_TOKEN: expected at least {SHORTEST} letters and digits.")
    return given


def listening(host, port):
    """A socket that listens there. UsageError: it cannot; `port` 0: one that is free."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        return socket.create_server(address[:2], family=family)
    except OSError as error:
        taken = error.errno == errno.EADDRINUSE
        why = "another program listens there; --port 0 takes one that is free" if taken else files.reason(error)
        raise UsageError(f"--host {one_line(host)} --port {port}: {why}.") from error


def link(host, port, token):
    """The address to open."""
    name = socket.gethostname() if host in ("0.0.0.0", "::", "") else f"[{host}]" if ":" in host else host
    return f"http://{name}:{port}/" + (f"?token={token}" if token else "")


def serve(folder, host="127.0.0.1", port=8765, token=None, *, most=20, ready=lambda link: None, **given):
    """Serves until a signal ends it; what is painted then is saved, and the next server of the folder goes on with it.

    Args:
        folder: of pictures, paintings and results; it is made.
        host, port: where it listens; port 0: any that is free.
        token: that is asked for, or None.
        most: paintings in work and waiting.
        ready: called with the address, once it answers there.
        given: `max_memory` and `save_seconds`, as for `kstyle.stylize`.

    Raises:
        UsageError: another server is in the folder, or the address cannot be listened on.
        DataError: the folder cannot be written to.
    """
    import uvicorn

    from kstyle.serve.app import app
    from kstyle.serve.pictures import Pictures
    from kstyle.serve.process import Process
    from kstyle.serve.queue import Queue

    class Server(uvicorn.Server):
        def capture_signals(self):
            return contextlib.nullcontext()  # they are handled here

    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"{one_line(folder)}: cannot be made ({files.reason(error)}).") from error
    with locks.held(folder, "serving"), contextlib.closing(listening(host, port)) as listener:
        log = folder / LOG
        with contextlib.suppress(OSError):
            log.write_bytes(b"")
        pictures = Pictures(folder / "pictures")

        async def run():
            queue = Queue(folder, pictures, Process(log, **given), most)
            config = uvicorn.Config(
                app(queue, pictures, token), log_level="warning", access_log=False, server_header=False,
                limit_concurrency=MOST_CONNECTIONS, timeout_graceful_shutdown=PATIENCE, lifespan="on",
            )  # fmt: skip
            server = Server(config)

            def stop(number, frame, before):
                if queue.closing:  # the second time
                    queue.give_up()
                queue.closing = server.should_exit = True

            with signals.handled(stop):
                ready(link(host, listener.getsockname()[1], token))
                await server.serve(sockets=[listener])

        asyncio.run(run())
