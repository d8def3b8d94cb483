"""The page of `kstyle serve` in a browser: a picture painted from first to last, and what one may meet on the way."""

import base64
import contextlib
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
import urllib.parse
import urllib.request

import browser
import numpy as np
import pictures
import pytest
from PIL import Image

pytest.importorskip("starlette", reason="the extra serve is not installed")
pytest.importorskip("uvicorn", reason="the extra serve is not installed")

EVIL = "<img src=x onerror=alert(1)>.png"  # no slash, which no file's name has
# Files that a page is given as if they were dropped: what a browser does with those of a desktop.
DROP = """([place, name, data]) => {
  const bytes = Uint8Array.from(atob(data), letter => letter.charCodeAt(0)), all = new DataTransfer();
  all.items.add(new File([bytes], name, { type: "image/png" }));
  const event = new DragEvent("drop", { dataTransfer: all, bubbles: true, cancelable: true });
  document.querySelector(place).dispatchEvent(event);
}"""
# Marks the page once its picture has changed twice. (The page's policy lets playwright wait for no expression.)
WATCH = """() => {
  const seen = new Set(), place = document.getElementById("after");
  new MutationObserver(() => {
    if (place.firstChild) seen.add(place.firstChild.src);
    if (seen.size > 2) document.body.classList.add("changed-twice");
  }).observe(place, { childList: true });
}"""
ENVIRONMENT = os.environ | {"KERAS_BACKEND": "torch", "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}


@contextlib.contextmanager
def serving(folder, port=0):
    """A server on this folder: (process, address)."""
    command = [sys.executable, "-m", "kstyle", "serve", str(folder), "--port", str(port), "--no-open"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=ENVIRONMENT, cwd=folder.parent
    ) as server:
        try:
            found = None
            while not found:
                line = server.stdout.readline()
                assert line, "the server ended before it said its address"
                found = re.search(r"http://\S+?:\d+/", line)
            yield server, found[0]
        finally:
            server.send_signal(signal.SIGINT)
            try:
                server.wait(20)
            finally:
                server.kill()


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """A server for the tests of this file, and the folder that it paints in."""
    browser.executable()
    folder = tmp_path_factory.mktemp("serve") / "painted"
    with serving(folder) as (_, address):
        yield address, folder


@pytest.fixture(scope="module")
def painted(served, tmp_path_factory):
    """The name of a photograph that was painted before the page is opened."""
    address, _ = served
    folder = tmp_path_factory.mktemp("pictures")

    def ask(path, method="GET", data=None):
        request = urllib.request.Request(address + path, data, {"X-Kstyle": "1"}, method=method)
        with urllib.request.urlopen(request, timeout=60) as response:
            return json.load(response)

    ids = []
    for name, example in ((EVIL, "rocket"), ("wave.png", "wave")):
        data = saved(folder, name, example, 64).read_bytes()
        ids.append(ask(f"api/pictures?name={urllib.parse.quote(name)}", "PUT", data)["id"])
    settings = {"content": ids[0], "styles": ids[1:], "preset": "kstyle", "size": 48, "steps": 3}
    job = ask("api/jobs", "POST", json.dumps(settings).encode())
    while job["state"] in ("waiting", "painting"):
        time.sleep(0.1)
        job = ask(f"api/jobs/{job['id']}")
    assert job["state"] == "finished", job["error"]
    return EVIL


def drop(seen, place, path):
    seen.page.evaluate(DROP, [place, path.name, base64.b64encode(path.read_bytes()).decode()])


def saved(folder, name, example, size):
    rgb = np.round(pictures.example(example, size) * 255).astype("uint8")
    Image.fromarray(rgb).save(folder / name)
    return folder / name


def opened(path):
    """A PNG's pixels, and the texts in it."""
    with Image.open(path) as image:
        return np.asarray(image), image.text


def state(seen, word, seconds=60):
    """Waits until the job on the stage says so."""
    seen.page.locator("#state", has_text=re.compile(f"^{word}")).wait_for(timeout=1000 * seconds)


def test_painted(served, tmp_path):
    """Failure: one of the page's parts does nothing or the wrong thing, on the way from two dropped files to a PNG."""
    address, folder = served
    with browser.opened(address) as seen:
        page, find = seen.page, seen.page.locator
        page.evaluate(WATCH)
        assert find("#paint").is_disabled()
        drop(seen, "#view-photograph", saved(tmp_path, EVIL, "chelsea", 96))
        find("#photo b").wait_for()
        assert find("#photo b").inner_text() == EVIL and find("#photo img").count() == 1
        drop(seen, "#styles-drop", saved(tmp_path, "night.png", "night", 96))
        find("#styles li").wait_for()

        # A mask: all but what is to the right of the middle.
        find("[data-view=masks]").click()
        find("#brush-size").fill("40")
        box = find("#mask").bounding_box()
        page.mouse.move(box["x"] + 0.1 * box["width"], box["y"] + 2)
        page.mouse.down()
        page.mouse.move(box["x"] + 0.2 * box["width"], box["y"] + box["height"] - 2, steps=5)
        page.mouse.up()
        painted = find("#mask-styles small").inner_text()
        assert 30 < int(painted.split()[0]) < 70
        find("#mask").focus()
        page.keyboard.press("Space")  # at the middle
        assert find("#mask-styles small").inner_text() != painted
        find("#undo").click()
        assert find("#mask-styles small").inner_text() == painted

        find("#size").fill("64")
        find("#settings summary").click()
        find("#steps").fill("80")
        find("#strength").fill("0.6")
        find("#paint").click()
        find("#after img").wait_for(timeout=60000)
        find("#stop").click()
        state(seen, "Stopped")
        stopped = int(find("#state").inner_text().split()[3])
        assert 0 < stopped < 80 and find("#losses .u-over").is_visible()

        find("#cut").focus()
        page.keyboard.press("End")
        whole = find("#before").evaluate("each => getComputedStyle(each).clipPath")
        box = find("#compare").bounding_box()
        page.mouse.move(box["x"] + 5, box["y"] + box["height"] / 2)
        page.mouse.down()
        page.mouse.move(box["x"] + box["width"] / 4, box["y"] + box["height"] / 2)
        page.mouse.up()
        assert 23 <= float(find("#cut").input_value()) <= 27
        assert find("#before").evaluate("each => getComputedStyle(each).clipPath") != whole

        find("#continue").click()
        find("body.changed-twice").wait_for(timeout=60000)
        page.reload()
        state(seen, "(Painting|Finished)")
        find("#after img").wait_for()
        assert find("#photo b").inner_text() == EVIL and find("#steps").input_value() == "80"
        assert find("#mask-styles small").text_content() == painted
        state(seen, "Finished")
        with page.expect_download() as download:
            find("#download").click()
        got = tmp_path / "got.png"
        download.value.save_as(got)

        find("#recipe summary").click()
        command = find("#recipe code").inner_text()
        assert not seen.errors and all(asked.startswith(address) for asked in seen.requests)
    ours = tmp_path / "ours.png"
    words = [sys.executable, "-m", *shlex.split(command)]
    assert words[2:4] == ["kstyle", "stylize"] and "--strength" in words and "--mask" in words
    subprocess.run([*words, "-o", ours, "-q"], check=True, env=ENVIRONMENT, cwd=folder.parent)
    (pixels, text), (expected, told) = map(opened, (got, ours))
    assert pixels.shape == (43, 64, 3) and text.keys() == told.keys()
    np.testing.assert_array_equal(pixels, expected)


@pytest.mark.parametrize(
    ("size", "scheme"), [(browser.DESK, "dark"), ((360, 740), "light")], ids=["desk, dark", "phone"]
)
def test_for_all(served, painted, size, scheme):
    """Failure: who uses a phone, a keyboard or a screen reader, or reads in the dark, cannot do something."""
    address, _ = served
    with browser.opened(address, size, scheme) as seen:
        find, press = seen.page.locator, seen.page.keyboard.press
        wide = "() => document.documentElement.scrollWidth <= innerWidth"
        assert not browser.findings(seen) and seen.page.evaluate(wide)
        for shelf in ("#photo-shelf", "#styles-shelf"):
            find(f"{shelf} button").first.focus()
            press("Enter")
        find("#styles-shelf button").last.focus()
        press("Space")
        find("#styles li").nth(1).wait_for()
        find("[data-view=masks]").focus()
        press("Enter")
        find("#mask").focus()
        press("Space")
        find("#rest").click()
        assert not browser.findings(seen) and seen.page.evaluate(wide)
        find("#jobs a").first.click()
        find("#after img").wait_for()
        find("#jobs summary").first.click()
        find("#recipe summary").click()
        assert not browser.findings(seen) and seen.page.evaluate(wide)
        find("#jobs button", has_text="Use these").first.click()
        find("#photo b").get_by_text(painted).wait_for()
        assert not seen.errors and all(asked.startswith(address) for asked in seen.requests)


def test_server_goes_away(tmp_path):
    """Failure: a page whose server is killed says nothing of it, or does not come back to its painting by itself."""
    folder = tmp_path / "painted"
    with contextlib.ExitStack() as stack:
        with serving(folder) as (server, address):
            seen = stack.enter_context(browser.opened(address))
            find = seen.page.locator
            find("#photo-shelf button").first.click()
            find("#styles-shelf button").last.click()
            find("#size").fill("64")
            find("#settings summary").click()
            find("#steps").fill("3")
            find("#paint").click()
            state(seen, "(Waiting|Painting)")
            server.kill()
            find("#away").wait_for()
        with serving(folder, int(address.split(":")[2].strip("/"))):
            find("#away").wait_for(state="hidden")
            find("#stop").click()  # in its first seconds a server loads what paints
            state(seen, "(Stopped|Finished)")
            assert find("#job-error").is_hidden() and all(asked.startswith(address) for asked in seen.requests)
