"""The server's side of the process that paints."""

import asyncio
import contextlib
import json
import os
import subprocess
import sys

from kstyle import plugins
from kstyle.errors import DataError
from kstyle.io import files

LONGEST = 1 << 22  # bytes of a message
# The same modules as here, and none from the folder that happens to be the current one.
_BEGIN = "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from kstyle.serve import worker; worker.main()"


class Process:
    """A process that paints, see `kstyle.serve.worker`.

    Args:
        log: path of the file that what it prints is written to.
        given: `max_memory` and `save_seconds`, as for `kstyle.stylize`.
    """

    def __init__(self, log, **given):
        self._log, self._given = log, given
        self._process = None

    @property
    def pid(self):
        """Its number; None: there is none."""
        return self._process.pid if self.alive else None

    @property
    def alive(self):
        """Whether there is one."""
        return self._process is not None and self._process.returncode is None

    async def begin(self):
        """Begins one, if there is none, and waits until it is ready. DataError: it cannot paint; one line says why."""
        if self.alive:
            return
        # A Ctrl-C in the terminal is for the server, which stops the painting in good order.
        apart = {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP} if os.name == "nt" else {}
        with contextlib.ExitStack() as stack:
            try:
                log = stack.enter_context(open(self._log, "ab"))
            except OSError:  # a full disk
                log = subprocess.DEVNULL
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-P", "-c", _BEGIN, json.dumps(sys.path), stdin=subprocess.PIPE,
                stdout=subprocess.PIPE, stderr=log, limit=LONGEST, start_new_session=os.name == "posix", **apart,
            )  # fmt: skip
        await self.tell({"plugins": plugins.loaded(), **self._given})
        said = await self.hear()
        if said is None or "ready" not in said:
            await self.end()
            raise DataError((said or {}).get("unfit") or f"The process that paints did not begin: {self._last_line()}")

    async def tell(self, message):
        """Sends a message. One to a process that has ended is lost, and `hear` tells."""
        with contextlib.suppress(OSError):
            self._process.stdin.write(files.json_text(message).encode() + b"\n")
            await self._process.stdin.drain()

    async def hear(self):
        """The next message; None: the process has ended."""
        line = await self._process.stdout.readline()
        if not line.endswith(b"\n"):
            await self._process.wait()
            return None
        return json.loads(line)

    async def end(self):
        """Waits until it has ended, which it does when it is told nothing more."""
        if self._process is not None:
            self._process.stdin.close()
            await self._process.wait()

    def kill(self):
        """Ends it at once."""
        if self.alive:
            self._process.kill()

    def fate(self):
        """How it ended, in words."""
        code = self._process.returncode
        how = f"was ended by signal {-code}" if code < 0 else f"ended with exit code {code}"
        why = ": it may have taken more memory than there is" if code in (-9, 137) else ""
        return f"The process that paints {how}{why}. Continue goes on from where it was saved last."

    def _last_line(self):
        try:
            with open(self._log, "rb") as file:
                file.seek(max(os.path.getsize(self._log) - 4096, 0))
                lines = file.read().decode("utf-8", "replace").split("\n")
        except OSError:
            return "its log cannot be read."
        return files.plain(next((line for line in reversed(lines) if line.strip()), "it said nothing."), 300)
