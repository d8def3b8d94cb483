"""A step of a painting through the page of `kstyle serve`, beside one by `kstyle stylize`.

    python benchmarks/serve.py [--size 256] [--steps 40] [--rounds 3] [--json]

Both paint the same, in turns: chelsea.jpg after night.jpg by the preset kstyle, each in a process of its own. Somebody
looks at the page: all events are read, and each picture that they tell of is fetched. Seconds are of a painting's
history, so loading does not count; of each, the fastest round.
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

EXAMPLES = Path(__file__).parents[1] / "examples"
CONTENT, STYLE = EXAMPLES / "chelsea.jpg", EXAMPLES / "night.jpg"
KSTYLE = [sys.executable, "-m", "kstyle"]


def by_command(size, steps, folder):
    """Seconds a step."""
    command = [*KSTYLE, "stylize", CONTENT, STYLE, "--size", size, "--steps", steps, "-o", folder / "a.png", "--json"]
    done = subprocess.run(list(map(str, command)), check=True, capture_output=True, text=True)
    return json.loads(done.stdout)["seconds"] / steps


class Page:
    """What a browser does with a server."""

    def __init__(self, folder):
        command = [*KSTYLE, "serve", str(folder), "--port", "0"]
        self._server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        self._link = self._server.stdout.readline().strip()

    def step(self, size, steps):
        """`(seconds a step, pictures that were looked at)`."""
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
        return now["seconds"] / steps, seen

    def end(self):
        self._server.terminate()
        self._server.wait()


@click.command()
@click.option("--size", default=256, show_default=True)
@click.option("--steps", default=40, show_default=True)
@click.option("--rounds", default=3, show_default=True)
@click.option("--json", "as_json", is_flag=True)
def main(size, steps, rounds, as_json):
    by_page, by_cli = [], []
    with tempfile.TemporaryDirectory() as folder:
        page = Page(Path(folder) / "painted")
        try:
            page.step(64, 4)  # the network is loaded
            for _ in range(rounds):
                by_cli.append(by_command(size, steps, Path(folder)))
                seconds, seen = page.step(size, steps)
                by_page.append(seconds)
        finally:
            page.end()
    told = {
        "size": size, "steps": steps, "command": min(by_cli), "page": min(by_page),
        "ratio": min(by_page) / min(by_cli), "rounds": [b / a for a, b in zip(by_cli, by_page)], "pictures": seen,
    }  # fmt: skip
    if as_json:
        click.echo(json.dumps(told))
        return
    click.echo(
        f"by command {told['command']:.4f} s a step, through the page {told['page']:.4f} s, {seen} pictures seen"
    )
    click.echo(f"ratio {told['ratio']:.3f}; of rounds {', '.join(f'{each:.3f}' for each in told['rounds'])}")


if __name__ == "__main__":
    main()
