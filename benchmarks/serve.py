"""A step of a painting through the page of `kstyle serve`, beside one by `kstyle stylize`.

    python benchmarks/serve.py [--size 256] [--steps 40] [--rounds 3] [--json]

Both paint the same, in turns: chelsea.jpg after night.jpg by the preset kstyle, each in a process of its own. Somebody
looks at the page: all events are read, and each picture that they tell of is fetched. Seconds are of a painting's
history, so loading does not count; of each, the fastest round. Where other programs keep the cores busy, look at the
seconds of the processor: all that the processes took for so many steps, less what they took for two, the server's and
its looking included.
"""

import hashlib
import json
import subprocess
import sys
import tempfile
import threading
import urllib.request
from pathlib import Path

import click
import psutil

EXAMPLES = Path(__file__).parents[1] / "examples"
CONTENT, STYLE = EXAMPLES / "chelsea.jpg", EXAMPLES / "night.jpg"
KSTYLE = [sys.executable, "-m", "kstyle"]


def by_command(size, steps, folder):
    """`(seconds of the history, seconds of the processor)`."""
    command = [*KSTYLE, "stylize", CONTENT, STYLE, "--size", size, "--steps", steps, "-o", folder / "a.png", "--json"]
    before = psutil.Process().cpu_times()
    done = subprocess.run(list(map(str, command)), check=True, capture_output=True, text=True)
    after = psutil.Process().cpu_times()
    taken = after.children_user + after.children_system - before.children_user - before.children_system
    return json.loads(done.stdout)["seconds"], taken


class Page:
    """What a browser does with a server."""

    def __init__(self, folder):
        command = [*KSTYLE, "serve", str(folder), "--port", "0"]
        self._server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        self._link = self._server.stdout.readline().strip()

    def paint(self, size, steps):
        """`(seconds of the history, seconds of the processor, pictures that were looked at)`."""
        before = self._processor()
        content, style = (hashlib.sha256(path.read_bytes()).hexdigest()[:32] for path in (CONTENT, STYLE))
        asked = {"content": content, "styles": [style], "size": size, "steps": steps}
        request = urllib.request.Request(
            f"{self._link}api/jobs", json.dumps(asked).encode(), {"X-Kstyle": "1"}, method="POST"
        )
        job, seen = json.load(urllib.request.urlopen(request)), 0
        with urllib.request.urlopen(f"{self._link}api/jobs/{job['id']}/events") as events:
            for line in events:
                if not line.startswith(b"data: "):
                    continue
                now = json.loads(line[6:])
                if now["version"] > seen:
                    seen = now["version"]
                    address = f"{self._link}api/jobs/{job['id']}/picture?v={seen}"
                    threading.Thread(target=lambda address=address: urllib.request.urlopen(address).read()).start()
        if now["state"] != "finished":
            raise click.ClickException(f"the painting {now['state']}: {now['error']}")
        return now["seconds"], self._processor() - before, seen

    def _processor(self):
        server = psutil.Process(self._server.pid)
        times = [process.cpu_times() for process in (server, *server.children())]
        return sum(each.user + each.system for each in times)

    def end(self):
        self._server.terminate()
        self._server.wait()


@click.command()
@click.option("--size", default=256, show_default=True)
@click.option("--steps", default=40, show_default=True)
@click.option("--rounds", default=3, show_default=True)
@click.option("--json", "as_json", is_flag=True)
def main(size, steps, rounds, as_json):
    walls, processors = [], []  # (by command, through the page) a step
    with tempfile.TemporaryDirectory() as folder:
        page = Page(Path(folder) / "painted")
        try:
            page.paint(64, 4)  # the network is loaded
            for _ in range(rounds):
                short, long = ([by_command(size, count, Path(folder)), page.paint(size, count)] for count in (2, steps))
                walls.append([run[0] / steps for run in long])
                processors.append([(b[1] - a[1]) / (steps - 2) for a, b in zip(short, long)])
        finally:
            page.end()
    told = {"size": size, "steps": steps, "pictures": long[1][2]}
    for name, rows in (("history", walls), ("processor", processors)):
        command, through = map(min, zip(*rows))
        told[name] = {
            "command": command,
            "page": through,
            "ratio": through / command,
            "rounds": [b / a for a, b in rows],
        }
    if as_json:
        click.echo(json.dumps(told))
        return
    click.echo(f"{size} px, {steps} steps, {told['pictures']} pictures looked at")
    for name in ("history", "processor"):
        row = told[name]
        rounds = ", ".join(f"{each:.3f}" for each in row["rounds"])
        seconds = f"by command {row['command']:.4f} s a step, through the page {row['page']:.4f} s"
        click.echo(f"{name}: {seconds}, ratio {row['ratio']:.3f}; of rounds {rounds}")


if __name__ == "__main__":
    main()
