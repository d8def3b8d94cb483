"""Downloading a list of pictures: kstyle, and one at a time with urllib as the script that Flickr Style came with does.

    python benchmarks/flickr_download.py [--pictures 2000] [--latency 0.05] [--hosts 9] [--side 8]

Against a local server, a process of its own, that takes `latency` seconds for an answer. kstyle's time has all in it:
decoding each picture, checksums, the journal, the lists at the end.
"""

import io
import multiprocessing
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import click
import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from crowd_server import CrowdServer

from kstyle.data.lists import flickr_style

ONE_BY_ONE = 100  # pictures that are enough to tell the rate of one at a time


class Server(CrowdServer):
    """Answers every URL with the same picture."""

    def __init__(self, latency, body):
        super().__init__(latency)
        self.body = body

    def answer(self, request):
        time.sleep(self.latency)
        request.send_response(200)
        request.send_header("Content-Length", str(len(self.body)))
        request.end_headers()
        request.wfile.write(self.body)


def serve(latency, body, ports, done):
    with Server(latency, body) as server:
        ports.put(server.port)
        done.wait()


def one_by_one(urls, folder):
    """What the published script does for each picture."""
    for number, url in enumerate(urls):
        urllib.request.urlretrieve(url, folder / f"{number}.jpg")


def peak_memory():
    """The most this process has had, in MB."""
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


@click.command()
@click.option("--pictures", default=2000, show_default=True)
@click.option("--latency", default=0.05, show_default=True, help="Seconds.")
@click.option("--hosts", default=9, show_default=True)
@click.option("--side", default=8, show_default=True, help="Of a picture, in pixels; Flickr's are of 500.")
def main(pictures, latency, hosts, side):
    noise = np.random.default_rng(0).integers(0, 256, (side // 4 + 1, side // 4 + 1, 3), "uint8")
    Image.fromarray(noise).resize((side, side), Image.Resampling.BICUBIC).save(stream := io.BytesIO(), "JPEG")
    context = multiprocessing.get_context("spawn")
    ports, done = context.Queue(), context.Event()
    process = context.Process(target=serve, args=(latency, stream.getvalue(), ports, done), daemon=True)
    process.start()
    port = ports.get()
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        urls = [f"http://127.0.0.{1 + n % hosts}:{port}/{n}.jpg" for n in range(pictures)]
        rows = "".join(f"{url},{n % 20},{'train' if n % 5 else 'test'}\n" for n, url in enumerate(urls))
        (folder / "list.csv").write_text(f"image_url,label,_split\n{rows}")
        start = time.perf_counter()
        one_by_one(urls[:ONE_BY_ONE], folder)
        slow = min(ONE_BY_ONE, pictures) / (time.perf_counter() - start)
        before, start = peak_memory(), time.perf_counter()
        _, facts = flickr_style.download(folder / "data", list_file=folder / "list.csv")
        spent = time.perf_counter() - start
    done.set()
    process.join()
    assert facts["train"] + facts["test"] == pictures
    fast = pictures / spent
    click.echo(f"{len(stream.getvalue()):,} bytes a picture, {latency * 1000:.0f} ms an answer, {hosts} hosts")
    click.echo(f"  one at a time  {slow:8.1f} pictures/s")
    click.echo(
        f"  kstyle         {fast:8.1f} pictures/s, {fast / slow:.1f} times as many ({spent:.1f} s for {pictures:,})"
    )
    click.echo(f"  memory grew by {peak_memory() - before:.0f} MB, libraries included")


if __name__ == "__main__":
    main()
