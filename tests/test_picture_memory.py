"""Large pictures: what is computed on the way is never as large as the picture, and comes out the same."""

import tracemalloc

import numpy as np
import pytest
from PIL import Image

from kstyle.pictures import images
from kstyle.style.colour import modes, statistics
from kstyle.style.passes import scene, starts


def grains(height, width, seed=0):
    return np.random.default_rng(seed).random((height, width, 3), np.float32)


def peak(function, pixels):
    """Bytes a pixel that NumPy has at the most while `function` runs; Pillow's own are not among them."""
    tracemalloc.start()
    try:
        kept = function()
        return tracemalloc.get_traced_memory()[1] / pixels, kept
    finally:
        tracemalloc.stop()


def test_what_is_kept_of_a_photograph_are_its_bytes(tmp_path):
    """Failure: a photograph of 100 megapixels takes 1.2 GB and more, though its painting has 512 pixels."""
    rgb = np.uint8(255 * grains(1500, 2000))
    Image.fromarray(rgb).save(tmp_path / "a.png", compress_level=1)
    images.read(tmp_path / "a.png")  # what is imported with the first picture is no part of it
    took, small = peak(lambda: images.resize_picture(images.read(tmp_path / "a.png"), (96, 128)), rgb[..., 0].size)
    assert took < 5
    whole = np.clip(images.resize(rgb.astype(np.float32) / np.float32(255), (96, 128)), 0, 1)
    assert np.array_equal(small.rgb, whole)
    assert np.array_equal(images.read(rgb).rgb, images.read(tmp_path / "a.png").rgb)


def test_alpha_is_resized_as_it_was_in_floats(tmp_path):
    """Failure: bytes and floats of one picture with soft edges become different pictures."""
    rgb, alpha = np.uint8(255 * grains(90, 70)), np.uint8(255 * grains(90, 70, 1)[..., 0])
    plain = images.Picture(rgb / np.float32(255), alpha / np.float32(255))
    found, wanted = (images.resize_picture(p, (50, 60)) for p in (images.Picture(rgb, plain.alpha), plain))
    assert np.array_equal(found.rgb, wanted.rgb) and np.array_equal(found.alpha, wanted.alpha)


CALLS = {
    "to_pil": (lambda a, b: images.to_pil(a), 4),
    "luminance": (modes.luminance, 20),
    "towards": (lambda a, b: modes.towards(a, [b], [1.0], 0.5), 20),
    "median": (lambda a, b: scene.median(a, 3), 40),
    "noise": (lambda a, b: starts.noise(60.0, a.shape[:2], 0, 0), 30),
}


@pytest.mark.parametrize("name", CALLS)
def test_no_copy_of_a_picture_in_float64(name, monkeypatch):
    """Failure: a step of a large painting fits into memory, and recolouring or writing what it made does not."""
    monkeypatch.setattr(statistics, "BAND", 1 << 17)
    function, most = CALLS[name]
    pair = grains(1500, 1600), grains(1500, 1600, 1)
    took, _ = peak(lambda: function(*pair), pair[0][..., 0].size)
    assert took < most, f"{took:.1f} bytes a pixel"


def test_parts_add_up(monkeypatch):
    """Failure: beyond four megapixels a style takes the colours of a part of the content."""
    pair, mask = (grains(61, 47), grains(53, 71, 1) ** 2), np.linspace(0, 1, 71, dtype=np.float32)[None].repeat(53, 0)

    def found():
        yield from statistics.moments(pair[1], mask)
        yield modes.match(*pair, content_mask=mask)
        yield modes.histogram(*pair, content_mask=mask, basis="pca")
        yield modes.towards(pair[0], [pair[1]], [1.0], 0.5)

    whole = list(found())
    monkeypatch.setattr(statistics, "BAND", 300)
    assert all(np.allclose(a, b, atol=1e-5) for a, b in zip(whole, found(), strict=True))


def test_noise_in_bands_is_the_noise_of_old():
    """Failure: a painting that begins with noise becomes another one from one version to the next."""
    grain = np.random.default_rng(3).normal(0, 60.0, (600, 700, 3))
    mean = np.array([123.68, 116.779, 103.939])
    wanted = ((mean + grain) / 255).astype("float32")
    assert np.array_equal(starts.noise(60.0, (596, 696), 2, 3), wanted)
