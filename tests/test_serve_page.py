"""The page of `kstyle serve` in a browser: a picture painted from first to last, and what one may meet on the way."""

import base64
import contextlib
import re
import signal

import browser
import numpy as np
import pytest
from PIL import Image

pytest.importorskip("uvicorn", reason="the extra serve is not installed")

from serving import Program, by_command, png

EVIL = "<img src=x onerror=alert(1)>.png"
STEPS = 100
# A file that the page is given as a browser gives one that is dropped.
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
FITS = "document.documentElement.scrollWidth <= innerWidth"


@contextlib.contextmanager
def serving(folder, *options):
    """A `Program` on a folder, killed at the end."""
    browser.executable()
    program = Program(folder, *options)
    try:
        yield program
    finally:
        program.end(signal.SIGKILL)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("serve") / "painted") as program:
        yield program


def drop(seen, place, name, data):
    seen.page.evaluate(DROP, [place, name, base64.b64encode(data).decode()])


def opened(path):
    """A PNG's pixels, and the texts in it."""
    with Image.open(path) as image:
        return np.asarray(image), image.text


def state(seen, word):
    """Waits until the job on the stage says so."""
    seen.page.locator("#state", has_text=re.compile(f"^{word}")).wait_for(timeout=120_000)


def test_painted(server, tmp_path):
    """Failure: a part of the page does nothing, or something else, on the way from two dropped files to a PNG."""
    with browser.opened(server.link) as seen:
        page, find = seen.page, seen.page.locator
        page.evaluate(WATCH)
        assert find("#paint").is_disabled()
        drop(seen, "#view-photograph", EVIL, png())
        find("#photo b").get_by_text(EVIL).wait_for()
        drop(seen, "#styles-drop", "painting.png", png(seed=1))
        find("#styles li").wait_for()

        # A mask by the pointer: a broad line from top to bottom; and by a key, at the middle.
        find("[data-view=masks]").click()
        find("#brush-size").fill("30")
        box = find("#mask").bounding_box()
        page.mouse.move(box["x"] + 0.1 * box["width"], box["y"] + 2)
        page.mouse.down()
        page.mouse.move(box["x"] + 0.2 * box["width"], box["y"] + box["height"] - 2, steps=5)
        page.mouse.up()
        masked = find("#mask-styles small").inner_text()
        assert 20 < int(masked.removesuffix(" %")) < 45
        find("#mask").focus()
        page.keyboard.press("Space")
        assert find("#mask-styles small").inner_text() != masked
        find("#undo").click()
        assert find("#mask-styles small").inner_text() == masked

        find("#preset").select_option("shallow")
        find("#size").fill("64")
        find("#settings summary").click()
        find("#steps").fill(str(STEPS))
        find("#strength").fill("0.6")
        slow = server.folder.with_name("slow")
        slow.touch()  # until the page has been reloaded, however fast the machine is, or slow the browser
        find("#paint").click()
        find("#after img").wait_for(timeout=120_000)
        find("#stop").click()
        state(seen, "Stopped")
        stopped = int(find("#state").inner_text().split()[3].replace(",", ""))
        assert 0 < stopped < STEPS and find("#losses .u-over").is_visible()

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
        find("body.changed-twice").wait_for(timeout=120_000)
        page.reload()
        state(seen, "Painting")
        slow.unlink()
        find("#after img").wait_for()
        assert find("#photo b").inner_text() == EVIL and find("#steps").input_value() == str(STEPS)
        assert find("#mask-styles small").text_content() == masked
        state(seen, "Finished")
        with page.expect_download() as download:
            find("#download").click()
        download.value.save_as(tmp_path / "page.png")
        find("#recipe summary").click()
        page.context.grant_permissions(["clipboard-read", "clipboard-write"])
        find("#recipe button").click()
        find("#recipe button", has_text="Copied").wait_for()
        command = page.evaluate("navigator.clipboard.readText()")
        assert command == find("#recipe code").inner_text()
        assert not seen.errors and all(asked.startswith(server.link) for asked in seen.requests)

    words = by_command(command, tmp_path / "command.png")
    assert {"--strength", "--mask", "--steps"} < set(words)
    (pixels, text), (expected, told) = opened(tmp_path / "page.png"), opened(tmp_path / "command.png")
    assert pixels.shape == (48, 64, 3) and text.keys() == told.keys()
    np.testing.assert_array_equal(pixels, expected)


@pytest.mark.parametrize(
    ("size", "scheme"), [(browser.DESK, "dark"), ((360, 740), "light")], ids=["desk, dark", "phone"]
)
def test_for_all(server, size, scheme):
    """Failure: who uses a phone, a keyboard or a screen reader, or reads in the dark, cannot do something."""
    settings = {"content": server.send(png(seed=7), EVIL), "styles": [server.send(png(seed=8), "wave.png")]}
    assert server.ended(server.begin(**settings, steps=3))["state"] == "finished"
    with browser.opened(server.link, size, scheme) as seen:
        find, press, fits = seen.page.locator, seen.page.keyboard.press, seen.page.evaluate
        assert not browser.findings(seen) and fits(FITS)
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
        assert not browser.findings(seen) and fits(FITS)
        find("#jobs a").first.click()
        find("#after img").wait_for()
        find("#jobs summary").first.click()
        find("#recipe summary").click()
        assert not browser.findings(seen) and fits(FITS)
        find("#jobs button", has_text="Use these").first.click()
        find("#photo b").get_by_text(EVIL).wait_for()
        assert not seen.errors and all(asked.startswith(server.link) for asked in seen.requests)


def test_server_goes_away(tmp_path):
    """Failure: a page whose server is killed says nothing of it, or does not come back to its painting by itself."""
    with contextlib.ExitStack() as stack:
        with serving(tmp_path / "painted") as first:
            seen = stack.enter_context(browser.opened(first.link))
            find = seen.page.locator
            find("#photo-shelf button").first.click()
            find("#styles-shelf button").last.click()
            find("#paint").click()
            state(seen, "(Waiting|Painting)")
            first.process.kill()
            find("#away").wait_for()
        with serving(tmp_path / "painted", "--port", first.link.split(":")[2].strip("/")):
            find("#away").wait_for(state="hidden")
            find("#stop").click()
            state(seen, "Stopped")
            assert find("#job-error").is_hidden()
