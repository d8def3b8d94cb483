"""The page of a run while it goes on: what it shows, to whom, and what it costs."""

import contextlib
import http.client
import json
import re
from types import SimpleNamespace

import numpy as np
import pytest
from browser import findings, opened
from pictures import SHALLOW, example, smooth

import kstyle
from kstyle.pictures import images
from kstyle.reports import live


def step(number, asked, total=40):
    """A step as callbacks get it; `asked` gets the number of each whose picture is fetched."""

    def image():
        asked.append(number)
        return np.full((30, 40, 3), number / total, "float32")

    losses = {"loss": 100.0 / (number + 1), "style": 90.0 / (number + 1)}
    return SimpleNamespace(scale=40, step=number, total=total, seconds=number / 10, losses=losses, image=image)


def ask(page, path="/", method="GET", **headers):
    """(status, headers, body) of a request to a `Live`; `Host` among the headers replaces the right one."""
    connection = http.client.HTTPConnection(live.HOST, page.port, timeout=10)
    connection.request(method, path, headers=headers)
    answer = connection.getresponse()
    return answer.status, answer.headers, answer.read()


@pytest.fixture
def page(tmp_path, monkeypatch):
    for name, value in (("EVERY", 0.0), ("LOSSES", 0.0), ("SHARE", 1e9), ("GOODBYE", 0.2)):
        monkeypatch.setattr(live, name, value)
    images.write(tmp_path / "<b>cat.png", smooth(30, 40))
    with live.of_painting(str(tmp_path / "<b>cat.png"), str(tmp_path / "gone.jpg")) as page:
        yield page


def test_a_painting_is_watched(page):
    """Failure: the picture, the losses or the end of a painting are not seen as they come, or a page loads what is not
    its own."""
    asked, shown = [], set()
    with opened(page.address) as seen:
        from playwright.sync_api import Error

        def comes(expression):
            """Waits until something is so on the page, which may load itself anew meanwhile."""
            for _ in range(200):
                with contextlib.suppress(Error):
                    if seen.page.evaluate(expression):
                        return
                seen.page.wait_for_timeout(50)
            pytest.fail(f"never came: {expression}")

        for number in range(3):
            ask(page, "/state.json")  # it is watched from the first step on
            page.step(step(number, asked))
            comes(f"document.querySelector('.figures').innerText.includes('{number + 1} of 40')")
            comes(f"document.querySelector('.compare .after').src.endsWith('v={page.version}')")
            shown.add(seen.page.locator(".compare .after").get_attribute("src"))
        assert len(shown) == 3 and asked == [0, 1, 2]
        data = seen.page.evaluate("document.querySelector('.chart').plot.data")
        assert data == [[0, 1, 2], [100, 50, 33.3333], [90, 45, 30]]
        assert findings(seen) == []
        page.done(SimpleNamespace(rgb=np.ones((30, 40, 3), "float32")))
        page.end("Done.")
        comes("document.querySelector('#state').innerText === 'Done.'")
        assert not seen.errors and all(address.startswith(page.address) for address in seen.requests)


def test_who_is_not_watched_is_not_slowed(page):
    """Failure: pictures are fetched from the device though nobody looks, or more often than is allowed."""
    asked = []
    for number in range(5):
        page.step(step(number, asked))
    assert not asked
    ask(page, "/state.json")
    page.step(step(5, asked))
    assert asked == [5]
    live.EVERY = 1000  # which the fixture puts back
    page.step(step(6, asked))
    page._looked -= live.WATCHED + 1
    live.EVERY = 0
    page.step(step(7, asked))
    assert asked == [5]


def test_only_this_machine_reads_it(page):
    """Failure: a web page whose name points here reads along (DNS rebinding); a request writes, or reads a file."""
    port = page.port
    assert page._server.server_address[0] == "127.0.0.1"
    for host, status in ((f"127.0.0.1:{port}", 200), (f"localhost:{port}", 200), ("evil.example", 403), ("", 403)):
        assert ask(page, Host=host)[0] == status
    for path in ("/../etc/passwd", "/%2e%2e/etc/passwd", "//etc/passwd", "/state.json/x", "/picture"):
        assert ask(page, path)[0] == 404
    for method in ("POST", "PUT", "DELETE", "OPTIONS"):
        assert ask(page, method=method)[0] == 501
    status, headers, body = ask(page)
    assert headers["X-Content-Type-Options"] == "nosniff" and headers["X-Frame-Options"] == "DENY"
    assert "Access-Control-Allow-Origin" not in headers
    assert b"<b>cat" not in body and b"default-src 'none'" in body
    assert json.loads(ask(page, "/state.json")[2])["figures"] == [["step", "0"]]


def test_a_training_is_watched(monkeypatch):
    """Failure: the page of a training shows other numbers than it was told."""
    monkeypatch.setattr(live, "GOODBYE", 0)
    with live.LiveTraining("training.html.jinja", dict) as page:
        look = SimpleNamespace(epoch=1, epochs=3, batch=5, steps=10, loss=0.5, accuracy=0.75, images_per_second=1234.5)
        page.look(look)
        page.epoch(0, {"loss": 0.9, "accuracy": 0.5, "val_loss": 0.8, "val_accuracy": 0.6})
        told = json.loads(ask(page, "/state.json")[2])
    assert (
        told["figures"][:2] == [["epoch", "2 of 3"], ["step", "5 of 10"]] and ["accuracy", "75.0 %"] in told["figures"]
    )
    sofar, loss, accuracy = told["charts"]
    assert (sofar["x"], sofar["lines"][0]["values"]) == ([1.5], [0.5])
    assert [line["values"] for line in loss["lines"]] == [[0.9], [0.8]]
    assert [line["values"] for line in accuracy["lines"]] == [[50], [60]]


def test_commands_say_where(tmp_path, command, monkeypatch):
    """Failure: --preview serves nothing, changes the result, or is not told where it is."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "shallow.yaml").write_text(SHALLOW)
    images.write("cat.png", example("chelsea", 64))
    images.write("night.png", example("night", 64))
    seen, told = [], live.Live.__enter__

    def enter(page):
        told(page)
        seen.append(ask(page)[0])  # somebody has looked
        return page

    monkeypatch.setattr(live.Live, "__enter__", enter)
    monkeypatch.setattr(live, "GOODBYE", 0)
    paint = ("stylize", "cat.png", "night.png", "-p", "shallow.yaml", "--size", 48, "--steps", 3, "--deterministic")
    train = ("train", "digits_cnn", "--epochs", 1, "--set", "data.train_limit=40", "--set", "data.test_limit=20")
    for arguments in ((*paint, "-o", "a.png"), (*train, "--run", "run")):
        code, _, said = command(*arguments, "--preview")
        assert code == 0 and re.search(r"to be watched on this machine at http://127\.0\.0\.1:\d+/\n", said)
    assert seen == [200, 200]
    assert command(*paint, "-o", "b.png", "-q", "--preview")[2] == "" and len(seen) == 2
    assert (images.read("a.png").values == images.read("b.png").values).all()
    assert kstyle.report("run").is_file()
