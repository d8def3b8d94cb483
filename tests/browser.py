"""A headless Chromium for tests of pages: what they ask for, what their console says, how they are used.

Where there is no playwright, or no Chromium, a test that asks for one is skipped and says so. `chromium` is Debian's;
CHROMIUM names another.
"""

import contextlib
import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

# /dev/shm is small in containers, and root may not use the sandbox.
OPTIONS = ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--disable-background-networking"]
PHONE, DESK = (390, 844), (1280, 800)


@dataclass
class Seen:
    """A page that is open.

    Attributes:
        page: playwright's.
        requests: addresses that it asked for beside its own file and what is written in it.
        errors: what its console said as errors or warnings, and exceptions in its scripts.
    """

    page: Any
    requests: list = field(default_factory=list)
    errors: list = field(default_factory=list)


def executable():
    """Where Chromium is, or the test is skipped."""
    pytest.importorskip("playwright", reason="playwright is not installed")
    found = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    if found is None:
        pytest.skip("no Chromium is installed: apt-get install chromium")
    return found


@contextlib.contextmanager
def opened(page, size=DESK, scheme="light"):
    """`with opened("page.html") as seen:` the page as a browser of this size shows it, its scripts run.

    Args:
        page: a file, or an address.
        size: (width, height) in CSS pixels.
        scheme: `"light"` or `"dark"`.

    Gives: a `Seen`. Requests are recorded, and none but to the page's own host is let through.
    """
    program = executable()
    from playwright.sync_api import sync_playwright

    address = Path(page).resolve().as_uri() if os.path.exists(page) else str(page)
    host = "" if address.startswith("file:") else "/".join(address.split("/")[:3]) + "/"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=OPTIONS)
        try:
            width, height = size
            context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
            seen = Seen(context.new_page())

            def request(route):
                asked = route.request.url
                own = asked == address or asked.startswith(("data:", "blob:"))
                if not own:
                    seen.requests.append(asked)
                if own or (host and asked.startswith(host)):
                    route.continue_()
                else:
                    route.abort()

            context.route("**/*", request)
            listen = seen.page.on
            listen("console", lambda said: said.type in ("error", "warning") and seen.errors.append(said.text))
            listen("pageerror", lambda error: seen.errors.append(str(error)))
            seen.page.goto(address, wait_until="load")
            yield seen
        finally:
            browser.close()


def findings(seen):
    """What axe-core finds wrong with a page as it is now, of what it calls serious or critical: a line each, with the
    elements. Skips where `axe-playwright-python` is not installed."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")
    found = axe.Axe().run(seen.page).response["violations"]
    return [
        f"{each['id']}: {each['help']}: {node['html'][:200]}"
        for each in found
        if each["impact"] in ("serious", "critical")
        for node in each["nodes"]
    ]
