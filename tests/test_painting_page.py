"""examples/browser: the page paints what Python paints, from files and a camera, and asks nobody but its server."""

import functools
import http.server
import io
import shutil
import threading
from pathlib import Path

import browser
import numpy as np
import pytest
from PIL import Image

from kstyle import backend
from kstyle.pictures import images
from kstyle.style.networks import style_file

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "examples/browser"
LONG = 180_000  # ms: painting takes a second, more beside other tests
APART = {"Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Embedder-Policy": "require-corp"}
CAMERA = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]

pytestmark = pytest.mark.skipif(backend.NAME != "torch", reason="ONNX files are written through PyTorch")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The page with all it needs, and photo.png, as it is served."""
    browser.executable()
    if not (PAGE / "node_modules").is_dir():
        pytest.skip("onnxruntime-web is not there: npm ci in examples/browser")
    from kstyle.style.networks import onnx_file

    folder = tmp_path_factory.mktemp("page")
    for path in PAGE.glob("*.*"):
        shutil.copy(path, folder)
    (folder / "node_modules").symlink_to(PAGE / "node_modules")
    onnx_file.write("style:night", folder / "night.onnx")
    images.write(folder / "photo.png", photograph(), None)
    return folder


@pytest.fixture
def address(folder, request):
    """Of a server of the folder, on this machine alone; with a parameter, one that lets the page use threads."""
    headers = APART if getattr(request, "param", False) else {}

    class Handler(http.server.SimpleHTTPRequestHandler):
        def end_headers(self):
            for name, value in headers.items():
                self.send_header(name, value)
            super().end_headers()

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=folder)) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


def photograph():
    picture = images.read(ROOT / "examples/chelsea.jpg")
    return images.resize_picture(picture, images.fit(picture.size, 128)).rgb


def downloaded(page):
    """What the page's button gives: (H, W, 3) float32 in [0, 1]."""
    with page.expect_download() as download:
        page.click("#download")
    assert download.value.suggested_filename == "photo-night.png"
    return opened(Path(download.value.path()).read_bytes())


def opened(png):
    """A file's bytes as (H, W, 3) float32 in [0, 1]."""
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"), "float32") / 255


def test_it_paints_what_python_paints(folder, address):
    """Failure: other colours or another size than Python's, a request that leaves the machine, a dead slider."""
    rgb = images.read(folder / "photo.png").rgb
    wanted = style_file.read("style:night").paint(rgb)
    with browser.opened(address, browser.PHONE) as seen:
        seen.page.set_input_files("#file", folder / "photo.png")
        seen.page.locator("#status", has_text="painted in").wait_for(timeout=LONG)
        np.testing.assert_allclose(downloaded(seen.page), wanted, atol=2 / 255)
        looks = opened(seen.page.locator("#canvas").screenshot())[: wanted.shape[0], : wanted.shape[1]]
        assert np.abs(looks - wanted).mean() < 0.05 < np.abs(looks - rgb).mean()  # its corners are round
        seen.page.fill("#strength", "50")
        np.testing.assert_allclose(downloaded(seen.page), (rgb + wanted) / 2, atol=2 / 255)
        assert not seen.page.is_visible("#error")
        assert seen.page.locator("#drop").evaluate("e => e.scrollWidth") <= browser.PHONE[0]  # nothing is cut off
    assert np.abs(wanted - rgb).mean() > 0.05
    assert not seen.errors and seen.requests
    assert all(asked.startswith(address) for asked in seen.requests), seen.requests


@pytest.mark.parametrize("address", ["threads"], indirect=True)
def test_frames_of_a_camera(address, monkeypatch):
    """Failure: the camera does not start, is not painted, or does not stop; or several threads do not paint at all."""
    monkeypatch.setattr(browser, "OPTIONS", [*browser.OPTIONS, *CAMERA])
    with browser.opened(address) as seen:
        seen.page.select_option("#size", "256")
        seen.page.click("#camera")
        seen.page.locator("#status", has_text="frames a second").wait_for(timeout=LONG)
        seen.page.click("#camera")
        seen.page.locator("#status", has_text="last frame stays").wait_for(timeout=LONG)
        assert seen.page.text_content("#camera") == "Use the camera" and not seen.errors


def test_what_is_wrong_is_said(folder, address):
    """Failure: a page that stays silent where a file is missing or is no picture, or where there is no camera."""
    (folder / "broken.png").write_bytes(b"no picture")
    with browser.opened(address) as seen:
        error = seen.page.locator("#error")
        seen.page.set_input_files("#file", folder / "broken.png")
        error.filter(has_text="broken.png is no picture").wait_for(timeout=LONG)
        seen.page.click("#camera")
        error.filter(has_text="camera").wait_for(timeout=LONG)
    for asked, said in (("gone.onnx", "kstyle export style:night -o gone.onnx"), ("..%2Fa.onnx", None)):
        with browser.opened(f"{address}?network={asked}") as seen:
            if said:
                seen.page.locator("#error", has_text=said).wait_for(timeout=LONG)
            else:
                seen.page.locator("#status", has_text="Ready").wait_for(timeout=LONG)  # night.onnx in its place
