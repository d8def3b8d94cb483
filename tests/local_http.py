"""What the tests' HTTP servers have in common."""

import http.server
import threading


class Listening:
    """`with Listening(Handler) as server:` it answers at `server.address`, on a thread of its own.

    Args:
        handler: a class, as for `http.server`.
    """

    def __init__(self, handler):
        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.http.daemon_threads = True
        self.address = f"http://127.0.0.1:{self.http.server_address[1]}"

    def __enter__(self):
        threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.http.shutdown()
        self.http.server_close()
