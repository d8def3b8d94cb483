"""The page of `kstyle inspect page`, as a browser shows it."""

import json
import re

import browser
import keras
import numpy as np
import pytest
from keras import layers as kl
from PIL import Image

import kstyle
from kstyle.inspect import subject

EVIL = "</script><img src=x onerror=alert(1)>.png"


def deep(layers):
    """A classifier of many layers, whose maps of noise are noise: the largest files that maps can have."""
    x = inputs = keras.Input((96, 96, 3))
    for number in range(layers):
        x = kl.Conv2D(16, 3, padding="same", activation="relu", kernel_initializer="he_normal", name=f"conv{number}")(x)
    x = kl.GlobalAveragePooling2D(name="mean")(x)
    return keras.Model(inputs, kl.Dense(3, name="told")(x), name="deep")


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """A page with all that one may have, of a file and a network of unpleasant names."""
    keras.utils.set_random_seed(0)
    folder = tmp_path_factory.mktemp("page")
    for number in range(3):
        rgb = np.random.default_rng(number).integers(0, 256, (96, 96, 3), "uint8")
        Image.fromarray(rgb).save(folder / f"{number}.png")
    name = EVIL.replace("/", "∕")
    (folder / "0.png").rename(folder / name)
    x = inputs = keras.Input((32, 32, 3))
    x = kl.Conv2D(6, 3, strides=2, activation="relu", name="<b>first")(x)
    x = kl.Conv2D(4, 3, activation="relu", name="second")(x)
    x = kl.GlobalAveragePooling2D(name="mean")(x)
    model = keras.Model(inputs, kl.Dense(3, name="told")(x), name="small")
    kstyle.inspect.page(
        model, folder / name, folder / "page.html", photos=folder, most=4, filters=1, layers="second",
        methods=["grad-cam", "smoothgrad"],
    )  # fmt: skip
    return folder / "page.html"


@pytest.mark.parametrize("size", [browser.DESK, browser.PHONE], ids=["desk", "phone"])
def test_clicks(page, size):
    """Failure: a click shows nothing or something else; the page asks for files, reports errors, or is too wide."""
    with browser.opened(page, size) as seen:
        find, press = seen.page.locator, seen.page.keyboard.press
        picture = find("#picture").get_attribute("src")
        assert find("#name").inner_text() == "<b>first" and find("#maps button").count() == 4
        seen.page.get_by_role("button", name="second").click()
        assert (
            find("#name").inner_text() == "second" and "a place sees 7 px · stride 2 px" in find("#about").inner_text()
        )
        first = find("#maps button").nth(0).get_attribute("aria-label")
        assert find("#said").inner_text().lower().startswith(first + ":")
        assert find("#filter").is_visible() and find("#parts img").count() == 3
        find("#maps button").nth(2).click()
        third = find("#maps button").nth(2).get_attribute("aria-label")
        assert find("#said").inner_text().lower().startswith(third + ":") and not find("#filter").is_visible()
        seen.page.evaluate("document.querySelector('#layers [aria-current=true]').focus()")
        press("ArrowDown")
        assert find("#name").inner_text() == "mean" and find("#maps button").count() == 0
        press("Home")
        press("Tab")
        press("ArrowRight")
        assert find("#maps button").nth(1).get_attribute("aria-pressed") == "true"
        find("#classes button").nth(1).click()
        heat = find("#picture").get_attribute("src")
        find("#methods button").nth(1).click()
        assert len({picture, heat, find("#picture").get_attribute("src")}) == 3
        find("#classes button").nth(1).click()
        assert find("#picture").get_attribute("src") == picture
        assert seen.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert seen.page.evaluate("[...document.images].every(i => !i.src || i.naturalWidth > 0)")
        assert not seen.requests and not seen.errors


def test_names_are_text(page):
    """Failure: what a file or a layer is called is run as part of the page."""
    text = page.read_text("utf-8")
    assert text.count("<script") == 2 and "<img src=x" not in text
    data = json.loads(re.search(r'id="data">(.*?)</script>', text, re.DOTALL)[1])
    assert data["layers"][0]["name"] == "<b>first" and "onerror" in data["image"]
    assert len(data["classes"]) == 3 and sum(each["probability"] for each in data["classes"]) == pytest.approx(1)


def test_fifty_layers(tmp_path):
    """Failure: the page of a network of fifty layers is too large to send, or a layer is missing in it."""
    keras.utils.set_random_seed(0)
    rgb = np.random.default_rng(0).random((96, 96, 3), dtype="float32")
    path = kstyle.inspect.page(subject.open(deep(50)), rgb, tmp_path / "deep.html", top=0)
    assert path.stat().st_size < 15e6
    data = json.loads(re.search(r'id="data">(.*?)</script>', path.read_text("utf-8"), re.DOTALL)[1])
    assert len(data["shown"]) == 50 and all(each["count"] == 16 for each in data["shown"].values())
