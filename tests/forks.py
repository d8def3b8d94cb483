"""Several ranks as forks of one process, which has imported the frameworks once: a second each and not ten."""

import os
import socket
import sys


def free_port():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


def forked(count, work):
    """Calls `work(rank)` in a fork of this process for each rank; one alone is rank 0 of 1. Returns their exit codes:
    what it returned, or 1 where it raised."""
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    started = []
    for rank in range(count):
        if not (child := os.fork()):
            code = 1
            try:
                if count > 1:
                    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(count)}
                code = work(rank)
            except SystemExit as error:
                code = error.code
            finally:
                sys.excepthook(*sys.exc_info()) if sys.exc_info()[0] else None
                sys.stderr.flush()
                os._exit(code)
        started.append(child)
    return [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in started]
