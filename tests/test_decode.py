"""Picture files as arrays: against Pillow itself, whatever does the work, and when a file or a worker is lost."""

import logging
import os
import signal
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image
from waiting import until

from kstyle.data.batches import arrays, decode, opening, workers
from kstyle.data.photos.tree import Photos
from kstyle.errors import DataError, UsageError
from kstyle.training.setup.sections import Photographs

EXAMPLES = Path(__file__).parents[1] / "examples"
SIZES = ((90, 61), (50, 120), (64, 64), (301, 40), (33, 47))


@pytest.fixture(autouse=True)
def bare(tmp_path, monkeypatch):
    """A cache of its own."""
    monkeypatch.setenv("KSTYLE_CACHE", str(tmp_path / "cache"))


def noise(width, height, number=0):
    return Image.fromarray(np.random.default_rng(number).integers(0, 256, (height, width, 3), np.uint8))


@pytest.fixture
def photos(tmp_path):
    """35 PNGs of odd sizes in three classes."""
    paths = []
    for number in range(35):
        paths.append(str(tmp_path / f"{number} é.png"))
        noise(*SIZES[number % len(SIZES)], number).save(paths[-1])
    return Photos(np.array(paths, object), np.arange(35, dtype=np.int32) % 3)


def test_evaluation_is_resize_and_crop(photos):
    """Failure: a published network is tested on other pixels than it was published with."""
    found = decode.decode(photos, 24, 32, workers=0, cache=False)
    for path, pixels in zip(photos.paths, found.images):
        with Image.open(path) as image:
            short = min(image.size)
            sides = [32 if side == short else int(32 * side / short) for side in image.size]
            whole = image.resize(sides, Image.Resampling.BILINEAR)
        left, top = (round((side - 24) / 2) for side in sides)
        expected = np.asarray(whole.crop((left, top, left + 24, top + 24)))
        assert np.array_equal(pixels, expected)
    assert found.labels is photos.labels and np.array_equal(opening.centre(photos.paths[3], 24, 32), found.images[3])
    with pytest.raises(UsageError, match="got a crop of 40 of 32"):
        decode.decode(photos, 40, 32)


@pytest.mark.parametrize("resample", opening.RESAMPLES)
def test_whole_pictures_may_be_stretched(photos, resample):
    """Failure: `resize: stretch` cuts something off, or another filter than the recipe's is used."""
    kind = Image.Resampling[resample.upper()]
    found = decode.decode(photos, 24, "stretch", workers=0, cache=False, resample=resample)
    with decode.FileBatches(
        photos, 35, 0, side=24, resize="stretch", crop="center", workers=0, resample=resample
    ) as batches:
        ((trained, _),) = batches(0)
    for number, place in enumerate(arrays.order(35, 0, 0)):
        with Image.open(photos.paths[place]) as image:
            expected = np.asarray(image.resize((24, 24), kind))
        assert np.array_equal(found.images[place], expected) and np.array_equal(trained[number], expected)
    assert np.array_equal(opening.centre(photos.paths[3], 24, "stretch", resample), found.images[3])


def test_stretched_pictures_are_not_cropped_unless_asked():
    """Failure: a stretched training picture is a random part of it, or a crop that is asked for is not made."""
    given = {"size": 150, "resize": "stretch"}
    assert Photographs(**given).crop == "center" and Photographs(size=150).crop == "random"
    assert Photographs(**given, crop="random").crop == "random"


def test_random_crops_are_as_defined():
    """Failure: pictures are seen larger, smaller or more distorted than the settings say."""
    rng = np.random.default_rng(1)
    boxes = np.array([opening.random_box(4000, 4000, rng, (0.2, 0.6), (0.75, 4 / 3)) for _ in range(4000)], float)
    width, height = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    assert boxes.min() >= 0 and boxes.max() <= 4000
    area, aspect = width * height / 4000**2, np.log(width / height) / np.log(4 / 3)
    # Of a square, any ratio fits with 0.6 of its area: nothing is drawn twice, and both are uniform.
    assert np.allclose(np.quantile(area, [0, 0.25, 0.5, 0.75, 1]), [0.2, 0.3, 0.4, 0.5, 0.6], atol=0.015)
    assert np.allclose(np.quantile(aspect, [0, 0.25, 0.5, 0.75, 1]), [-1, -0.5, 0, 0.5, 1], atol=0.06)
    free = boxes[:, 0] / (4000 - width)
    assert np.allclose(np.quantile(free, [0.25, 0.5, 0.75]), [0.25, 0.5, 0.75], atol=0.04)
    # Where nothing fits: the largest central part that has a ratio allowed.
    assert opening.random_box(900, 90, rng, (0.9, 1), (0.75, 4 / 3)) == (390, 0, 510, 90)
    assert opening.random_box(60, 900, rng, (0.9, 1), (0.75, 4 / 3)) == (0, 410, 60, 490)


@pytest.mark.parametrize("crop", ["random", "center"])
def test_batches_depend_on_nothing_else(photos, crop):
    """Failure: a run with another number of workers or batch size, or a resumed one, is another training."""
    runs = []
    for count, size in ((0, 8), (1, 8), (2, 5)):
        with decode.FileBatches(photos, size, 7, side=20, resize=24, crop=crop, workers=count) as batches:
            assert (batches.count, batches.size, batches.steps) == (35, size, -(-35 // size))
            next(iter(batches(1)))  # an epoch that is left early must leave nothing behind
            runs.append([list(batches(2)), list(batches(2, first=2))])
    whole = [np.concatenate([images for images, _ in epoch]) for epoch, _ in runs]
    assert all(np.array_equal(whole[0], other) for other in whole[1:])
    order = arrays.order(35, 7, 2)
    assert np.array_equal(np.concatenate([labels for _, labels in runs[0][0]]), photos.labels[order])
    assert np.array_equal(np.concatenate([images for images, _ in runs[2][1]]), whole[0][10:])
    last, labels = runs[0][0][-1]
    assert last.shape == (3, 20, 20, 3) and last.dtype == np.uint8 and labels.dtype == np.int32
    with decode.FileBatches(photos, 8, 7, side=20, resize=24, crop=crop, drop_last=True) as batches:
        assert batches.steps == 4
        assert np.array_equal(np.concatenate([images for images, _ in batches(3)]), whole[0][:32]) is (
            crop == "center" and np.array_equal(arrays.order(35, 7, 3)[:32], order[:32])
        )


def test_a_batch_stays_what_it_was(photos):
    """Failure: the pictures of a step change under it while workers write the next."""
    with decode.FileBatches(photos, 4, 0, side=16, workers=1) as batches:
        epoch = batches(0)
        first, _ = next(epoch)
        before = first.copy()
        list(epoch)
        assert np.array_equal(first, before) and first.flags.writeable
        old = batches(1)
        next(old)
        list(batches(2))
        with pytest.raises(UsageError, match="another was begun"):
            next(old)


def test_odd_modes(tmp_path):
    """Failure: transparency turns black, 16-bit grey white, CMYK to its negative; or a file's profile stops it."""
    grey = np.linspace(0, 65535, 64).astype(np.uint16).reshape(8, 8)
    clear = Image.new("RGBA", (8, 8), (255, 0, 0, 0))
    clear.paste((0, 0, 255, 255), (0, 0, 4, 8))
    palette = Image.new("P", (8, 8), 1)
    palette.putpalette([0, 0, 0, 10, 200, 30])
    frames = [Image.new("L", (8, 8), level) for level in (60, 220)]
    cases = {
        "clear.png": (clear, np.where(np.arange(8)[None, :, None] < 4, [0, 0, 255], 255)),
        "deep.png": (Image.fromarray(grey), np.rint(grey / 257)[..., None]),
        "float.tif": (Image.fromarray((grey / 65535).astype(np.float32)), np.rint(grey / 257)[..., None]),
        "cmyk.jpg": (Image.new("CMYK", (8, 8), (0, 255, 255, 0)), np.array([255, 0, 0])),
        "palette.gif": (palette, np.array([10, 200, 30])),
        "one.png": (Image.new("1", (8, 8), 1), np.array([255])),
    }
    for name, (image, expected) in cases.items():
        image.save(tmp_path / name)
        found = opening.open_rgb(tmp_path / name)
        assert found.mode == "RGB" and np.abs(np.asarray(found, int) - expected).max() <= 2, name
    frames[0].save(tmp_path / "moving.gif", save_all=True, append_images=frames[1:])
    assert np.asarray(opening.open_rgb(tmp_path / "moving.gif")).max() == 60


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.tif"])
def test_turned_as_exif_says(tmp_path, orientation, name):
    """Failure: photographs taken upright are trained on lying on their side, or cropped as if they did."""
    image = Image.new("RGB", (600, 400), "white")
    image.paste("red", (0, 0, 300, 200))  # what is at the upper left in the file
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    image.save(tmp_path / name, exif=exif)
    # By EXIF: on which sides the file's first row and first column are seen.
    row, column = dict(zip(range(1, 9), ("tl", "tr", "br", "bl", "lt", "rt", "rb", "lb")))[orientation]
    found = opening.open_rgb(tmp_path / name, least=60)
    assert (found.width < found.height) == (orientation > 4) and min(found.size) >= 60
    seen = np.asarray(opening.centre(tmp_path / name, 60, 60), int)
    top, left = "t" in row + column, "l" in row + column
    corner = seen[3 if top else -4, 3 if left else -4]
    opposite = seen[-4 if top else 3, -4 if left else 3]
    assert corner[1] < 60 and opposite[1] > 200


def test_reduced_scale_is_never_too_small(tmp_path, monkeypatch):
    """Failure: pictures are enlarged from fewer pixels than the file has, and training sees blur."""
    sizes, resize = [], Image.Image.resize

    def noted(self, size, resample, box):
        sizes.append((self.size, box[2] - box[0], box[3] - box[1]))
        return resize(self, size, resample, box)

    monkeypatch.setattr(Image.Image, "resize", noted)
    path = tmp_path / "large.jpg"
    with Image.open(EXAMPLES / "chelsea.jpg") as image:
        resize(image, (1603, 1069)).save(path, quality=90)
    for least, short in ((None, 1069), (534, 535), (535, 1069), (133, 134), (100, 134), (1, 134)):
        assert min(opening.open_rgb(path, least).size) == short
    out = np.empty((150, 150, 3), np.uint8)
    options = {"task": "random", "side": 150, "seed": 1, "scale": (0.02, 1), "ratio": (0.75, 4 / 3)}
    options["resample"] = "bilinear"
    for index in range(40):
        assert workers.perform(path, options, 0, index, out)[0]
        x0, y0, x1, y1 = opening.random_box(1603, 1069, np.random.default_rng((1, 0, index)), (0.02, 1), (0.75, 4 / 3))
        _, width, height = sizes[-1]
        assert min(width, height) >= min(150, x1 - x0, y1 - y0)  # enough pixels, or all there are
        assert width / height == pytest.approx((x1 - x0) / (y1 - y0))
    assert len({size for size, _, _ in sizes}) >= 3
    full = np.asarray(resize(opening.open_rgb(path), (119, 80), Image.Resampling.BILINEAR), int)[:, 20:100]
    assert np.abs(opening.centre(path, 80, 80) - full).mean() < 1


def test_cache_of_decoded_pictures(photos, tmp_path, monkeypatch):
    """Failure: each start decodes the test pictures anew, or tests on what the files were before they changed."""
    kept = tmp_path / "cache/decoded"

    def decoded(size=16, **options):
        seen = []
        found = decode.decode(photos, size, 20, workers=0, progress=lambda *now: seen.append(now), **options)
        assert seen in ([], [(number, 35) for number in range(1, 36)])
        return found.images, bool(seen)

    first, worked = decoded()
    assert worked and [path.stat().st_size for path in kept.iterdir()] == [35 * 16 * 16 * 3]
    second, worked = decoded()
    assert not worked and np.array_equal(first, second)
    second[:] = 0  # the caller's own copy
    assert np.array_equal(decoded()[0], first)
    noise(70, 70, 99).save(photos.paths[4])
    changed, worked = decoded()
    assert worked and np.flatnonzero((changed != first).any(axis=(1, 2, 3))).tolist() == [4]
    assert decoded(12)[1] and len(list(kept.iterdir())) == 3
    # What has not been used for longest makes room.
    assert decoded(14, limit=2 * 35 * 16 * 16 * 3)[1] and len(list(kept.iterdir())) == 2
    assert decoded(15, limit=1000)[1] and len(list(kept.iterdir())) == 2
    Path(photos.paths[5]).write_bytes(b"none")
    with pytest.raises(DataError, match=r"5 é\.png: is not a picture"):
        decoded()
    assert len(list(kept.iterdir())) == 2  # nothing half-written
    noise(70, 70).save(photos.paths[5])
    monkeypatch.setenv("KSTYLE_CACHE", photos.paths[0])
    assert np.array_equal(decoded()[0][:4], first[:4])


def test_lost_pictures(photos, caplog):
    """Failure: one file deleted in the night ends the training of a week, or puts a picture of another class in."""
    with decode.FileBatches(photos, 35, 0, side=16, resize=16, crop="center", workers=2) as batches:
        ((before, _),) = batches(0)
        at = {int(index): place for place, index in enumerate(arrays.order(35, 0, 0))}
        os.unlink(photos.paths[4])
        Path(photos.paths[7]).write_bytes(b"none")
        with caplog.at_level(logging.WARNING, "kstyle"):
            for _ in range(2):
                ((after, labels),) = batches(0)
        changed = np.flatnonzero((before != after).any(axis=(1, 2, 3)))
        assert set(changed) == {at[4], at[7]} and np.array_equal(labels, photos.labels[arrays.order(35, 0, 0)])
        assert np.array_equal(after[at[4]], before[at[10]]) and np.array_equal(after[at[7]], before[at[10]])
        assert sorted(r.getMessage().split(": ")[0] for r in caplog.records) == [photos.paths[4], photos.paths[7]]
        for path, label in zip(photos.paths, photos.labels):
            if label == 2:
                os.unlink(path)
        with pytest.raises(DataError, match="nor can any other picture of its class"):
            list(batches(0))


def test_killed_worker(photos):
    """Failure: a worker that the system kills for its memory leaves a training that waits for ever."""
    with decode.FileBatches(photos, 4, 0, side=16, workers=2) as batches:
        epoch = batches(0)
        next(epoch)
        processes = list(batches._decoder._processes)
        os.kill(processes[0].pid, signal.SIGKILL)
        with pytest.raises(DataError, match=r"SIGKILL.*memory"):
            for _ in range(3):
                list(epoch)
                epoch = batches(0)
        assert all(process.returncode is not None for process in processes)
        assert len(list(batches(0))) == 9


def test_workers_end_with_their_parent(photos, tmp_path):
    """Failure: Ctrl-C or a killed training leaves processes behind, or a page of their tracebacks; importing this
    takes a framework, which each worker would load."""
    code = (
        "import sys, time, numpy as np\n"
        "from kstyle.data.batches import decode; from kstyle.data.photos.tree import Photos\n"
        "assert not {'keras', 'torch', 'tensorflow', 'jax', 'pandas', 'sklearn'} & set(sys.modules)\n"
        "paths = np.array(sys.argv[1:], object)\n"
        "batches = decode.FileBatches(Photos(paths, np.zeros(len(paths), np.int32)), 4, 0, side=16, workers=2)\n"
        "next(batches(0))\n"
        "print(*[process.pid for process in batches._decoder._processes], flush=True)\n"
        "time.sleep(600)\n"  # without a guard for __main__: the workers do not run this
    )
    for number in (signal.SIGINT, signal.SIGKILL):
        process = subprocess.Popen(
            [sys.executable, "-c", code, *photos.paths], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            start_new_session=True,
        )  # fmt: skip
        pids = [int(pid) for pid in process.stdout.readline().split()]
        assert len(pids) == 2, process.stderr.read()
        os.killpg(process.pid, number)
        _, printed = process.communicate(timeout=300)
        assert printed.count("Traceback") == (number == signal.SIGINT)  # the parent's own
        until(lambda pids=pids: not any(running(pid) for pid in pids))  # else workers are left


def running(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_settings_that_cannot_be(photos):
    """Failure: a misspelt crop or an empty range is found out in the middle of an epoch."""
    with pytest.raises(UsageError, match="Did you mean 'center'"):
        decode.FileBatches(photos, 4, 0, crop="centre")
    for wrong in ({"size": 0}, {"scale": (0, 1)}, {"ratio": (2, 1)}, {"crop": "center", "side": 300}):
        with pytest.raises(UsageError, match="got"):
            decode.FileBatches(photos, **{"size": 4, "seed": 0, **wrong})
    with pytest.raises(UsageError, match="workers"):
        workers.Decoder(list(photos.paths), {"task": "examine"}, workers=-1)


def test_damaged_metadata_is_silent(tmp_path):
    """Failure: a warning of Pillow's for each epoch and picture, or, where warnings are errors, a picture lost."""
    noise(20, 20).save(tmp_path / "a.jpg", exif=b"Exif\0\0II*\0\xff\xff\xff\xff")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert workers.perform(tmp_path / "a.jpg", {"task": "examine"}, 0, 0, None)[0]
        assert not caught
        opening.open_rgb(tmp_path / "a.jpg")
        assert caught  # the file is one that Pillow warns of
