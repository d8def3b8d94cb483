"""Films: frames that follow each other, animations and videos in and out."""

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pictures
import pytest
from batches import STYLE, summary
from PIL import Image

import kstyle
from kstyle.errors import KStyleError
from kstyle.pictures.films import files
from kstyle.style.jobs import batch
from kstyle.style.jobs.films import frames


def scene(number, height=40, width=48):
    """A picture in which nothing but a patch moves."""
    rgb = pictures.example("chelsea", width)[:height].copy()
    rgb[4:14, 2 + 4 * number : 12 + 4 * number] = (0.9, 0.1, 0.1)
    return (rgb * 255).round().astype("uint8")


@pytest.fixture
def moving():
    """The names of five frames of `scene`."""
    Path("in").mkdir()
    for number in range(5):
        Image.fromarray(scene(number)).save(f"in/f{number}.png")
    return [f"f{number}.png" for number in range(5)]


def shown(folder, names):
    return np.stack([np.asarray(Image.open(Path(folder) / name), "float32") for name in names]) / 255


def test_what_stands_still_is_held(painter, moving):
    """Failure: the painting boils where the film is still."""
    still = np.abs(np.diff(shown("in", moving), axis=0)).max((0, 3)) == 0
    flicker = {}
    for folder, motion in {"free": None, "led": frames.Motion(4, 0), "held": frames.Motion(4, 3)}.items():
        outcomes = list(batch.stylize_all(painter, "in", folder, 48, 12, motion=motion))
        assert [outcome.state for _, outcome in outcomes] == ["done"] * 5
        flicker[folder] = np.abs(np.diff(shown(folder, moving), axis=0))[:, still].mean()
    assert flicker["held"] < 0.6 * flicker["led"], flicker
    # And what moves is painted where it is: the patch is the reddest place.
    red = shown("held", moving)[..., 0] - shown("held", moving)[..., 1]
    places = [np.average(np.arange(red.shape[2]), weights=np.clip(frame[4:14] - 0.2, 0, 1).sum(0)) for frame in red]
    assert np.all(np.diff(places) > 1), places


def test_frames_go_on_as_if_they_had_not_been_stopped(place, painter, moving, caplog):
    """Failure: a film jumps at the frame at which its painting was taken up again."""
    for number in (3, 4):  # a cut
        Image.fromarray(255 - scene(number)).save(f"in/f{number}.png")
    motion = frames.Motion(2, 1)
    with caplog.at_level("INFO", "kstyle"):
        list(batch.stylize_all(painter, "in", "whole", 48, 6, motion=motion))
    said = [record.message for record in caplog.records if "a cut" in record.message]
    assert len(said) == 1 and said[0].startswith("f3.png: a cut (a mean change of 0.")
    stopped = batch.stylize_all(painter, "in", "parts", 48, 6, motion=motion)
    next(stopped), next(stopped)
    stopped.close()
    states = [outcome.state for _, outcome in batch.stylize_all(painter, "in", "parts", 48, 6, motion=motion)]
    assert states == ["skipped", "skipped", "done", "done", "done"]
    np.testing.assert_array_equal(shown("parts", moving), shown("whole", moving))
    # A frame follows those before it, up to the next cut.
    Image.fromarray(scene(4)).save("in/f0.png")
    states = [outcome.state for _, outcome in batch.stylize_all(painter, "in", "parts", 48, 6, motion=motion)]
    assert states == ["done", "done", "done", "skipped", "skipped"]


def test_noise_is_no_change(place):
    """Failure: a compressed film's grain is taken for movement, and nothing is held; or movement is held back."""
    before = pictures.smooth(48, 64)
    noise = np.random.default_rng(0).normal(0, 0.02, before.shape).astype("float32")
    assert frames.trust(frames.change(before, before + noise)).mean() > 0.8
    moved = np.roll(before, 16, axis=1)
    assert frames.trust(frames.change(before, moved))[:, 20:].mean() < 0.2
    np.testing.assert_allclose(frames.carry(before, before, moved), moved, atol=1e-6)


@pytest.mark.parametrize("kind", ["gif", "webp", "png"])
def test_an_animation_in_and_out(run, kind):
    """Failure: a GIF comes back as its first frame, at another speed, or as a heap of pictures."""
    shots = [Image.fromarray(scene(number)) for number in range(3)]
    shots[0].save(f"clip.{kind}", save_all=True, append_images=shots[1:], duration=[50, 120, 70], loop=0)
    code, got = summary(run(f"clip.{kind}", "--json", "--frames"))
    assert (code, got["output"], got["done"]) == (0, f"out/clip.{kind}", 3)
    with Image.open(got["output"]) as image:
        durations, seen = [], []
        for number in range(image.n_frames):
            image.seek(number)
            image.load()
            durations.append(image.info["duration"])
            seen.append(np.asarray(image.convert("RGB"), float))
        assert durations == [50, 120, 70] and image.size == (32, 21) and image.info["loop"] == 0
    painted = np.asarray(Image.open("out/clip/000002.png"), float)
    assert np.abs(seen[1] - painted).mean() < 12 and np.abs(seen[1] - seen[0]).max() > 40
    before = Path(got["output"]).stat().st_mtime_ns
    assert summary(run(f"clip.{kind}", "--json", "--frames"))[1].items() >= {"done": 0, "skipped": 3}.items()
    assert Path(got["output"]).stat().st_mtime_ns == before


def test_a_film_in_python(place, run):
    """Failure: `kstyle.film` paints other frames than `kstyle batch`, or a mistake ends in a traceback."""
    shots = [Image.fromarray(scene(number)) for number in range(3)]
    shots[0].save("clip.gif", save_all=True, append_images=shots[1:], duration=[50, 120, 70], loop=0)
    common = {"preset": place / "shallow.yaml", "size": 32, "precision": "float32", "deterministic": True}
    found = kstyle.film("clip.gif", STYLE, "python", steps=3, frame_steps=2, temporal=1, **common)
    options = ["--frame-steps", 2, "--temporal", 1, "--precision", "float32", "--deterministic", "-q"]
    assert run("clip.gif", *options, steps=3) == (0, "", "") and found == Path("python/clip.gif")
    for name in ("clip.gif", "clip/000001.png", "clip/000002.png", "clip/000003.png"):
        assert Path("python", name).read_bytes() == Path("out", name).read_bytes(), name
    made, changed = Path("python/clip/000002.png"), Path("python/clip.gif").stat().st_mtime_ns
    made.unlink()  # of a film that goes on nothing else is painted but what is missing, and what follows it
    kstyle.film("clip.gif", STYLE, "python", steps=3, frame_steps=2, temporal=1, **common)
    assert made.read_bytes() == Path("out/clip/000002.png").read_bytes()
    assert Path("python/clip.gif").stat().st_mtime_ns != changed

    shots[0].save("still.gif")
    (place / "cwd/taken").mkdir()
    shutil.copy("clip.gif", "taken/clip.gif")
    for path, output, options, said in [
        ("still.gif", "out", {}, r"still\.gif is no film: a video, or a GIF, WebP or PNG of several frames"),
        ("none.gif", "out", {}, r"none\.gif: there is no such file"),
        ("clip.gif", ".", {}, "would be replaced, and it is read too"),
        ("clip.gif", "taken", {}, r"taken/clip\.gif is there, and no painting of this film"),
        ("clip.gif", "new", {"temporal": -1}, "temporal weight must be 0 or more"),
    ]:
        with pytest.raises(kstyle.UsageError, match=said):
            kstyle.film(path, STYLE, output, **common, **options)


needs_ffmpeg = pytest.mark.skipif(
    not (shutil.which("ffmpeg") and shutil.which("ffprobe")), reason="ffmpeg is not installed"
)


@needs_ffmpeg
def test_a_video_in_and_out(run):
    """Failure: a video comes back without its sound, or at another rate or length."""
    made = "testsrc=size=50x38:rate=30000/1001:duration=0.3", "sine=duration=0.3"
    inputs = [part for source in made for part in ("-f", "lavfi", "-i", source)]
    subprocess.run(["ffmpeg", "-v", "error", *inputs, "-pix_fmt", "yuv420p", "-shortest", "clip.mp4"], check=True)
    code, got = summary(run("clip.mp4", "--json"))
    assert (code, got["output"]) == (0, "out/clip.mp4") and got["done"] in (8, 9)
    asked = ["ffprobe", "-v", "error", "-show_streams", "-of", "json", got["output"]]
    streams = json.loads(subprocess.run(asked, check=True, capture_output=True).stdout)["streams"]
    shape = {stream["codec_type"]: stream for stream in streams}
    assert shape["video"]["avg_frame_rate"] == "30000/1001" and int(shape["video"]["nb_frames"]) == got["done"]
    assert (shape["video"]["width"], shape["video"]["height"]) == (32, 24) and "audio" in shape
    Path("broken.mkv").write_bytes(b"no video")
    code, _, errors = run("broken.mkv")
    assert code == 2 and errors.startswith("kstyle: broken.mkv: ffprobe failed (") and errors.count("\n") == 1


def times(path):
    """Seconds at which the frames of a video are shown."""
    asked = [
        "ffprobe",
        "-v",
        "error",
        "-select_streams",
        "v:0",
        "-show_entries",
        "packet=pts_time",
        "-of",
        "json",
        path,
    ]
    packets = json.loads(subprocess.run(asked, check=True, capture_output=True).stdout)["packets"]
    return np.array(sorted(float(packet["pts_time"]) for packet in packets))


@needs_ffmpeg
@pytest.mark.parametrize("suffix", ["mkv", "mp4"])
def test_a_rate_that_varies(place, suffix):
    """Failure: a phone's film runs evenly where it stood still, and comes apart from its sound."""
    made = ["-f", "lavfi", "-i", "testsrc=size=32x24:rate=20:duration=1", "-vf", "select='not(between(n,3,9))'"]
    film = f"clip.{suffix}"
    subprocess.run(["ffmpeg", "-v", "error", *made, "-fps_mode", "passthrough", film], check=True)
    expected = times(film)
    assert len(expected) == 13 and np.diff(expected).max() > 0.39
    Path("apart").mkdir()
    found = files.take_apart(film, "apart", 32)
    assert len(found.frames) == 13
    files.join(found, found.frames, f"again.{suffix}")
    again = times(f"again.{suffix}")
    np.testing.assert_allclose(again - again[0], expected - expected[0], atol=0.002)


@needs_ffmpeg
def test_an_hdr_film(place):
    """Failure: an HDR film comes out pale: 58 % of the signal is white paper in it."""
    white = "color=c=0x949494:size=32x24:rate=5:duration=0.4,format=yuv444p10le"
    told = ["-color_primaries", "bt2020", "-color_trc", "smpte2084", "-colorspace", "bt2020nc", "-color_range", "tv"]
    subprocess.run(
        [
            "ffmpeg",
            "-v",
            "error",
            "-f",
            "lavfi",
            "-i",
            white,
            "-c:v",
            "libx264",
            "-pix_fmt",
            "yuv420p10le",
            *told,
            "hdr.mp4",
        ],
        check=True,
    )
    Path("apart").mkdir()
    found = files.take_apart("hdr.mp4", "apart", 32)
    assert np.asarray(Image.open(found.frames[0]).convert("RGB")).min() > 245


@pytest.mark.parametrize("kind", ["gif", "webp", pytest.param("mp4", marks=needs_ffmpeg)])
def test_a_film_is_made_of_pictures(place, moving, kind):
    """Failure: a film of pictures lacks some, shows them at another speed, or an animation stops after one round."""
    target = files.check_target(f"made.{kind}")
    files.make([Path("in", name) for name in moving], target, 10)
    if kind == "mp4":
        told = ("-count_frames", "-show_entries", "stream=nb_read_frames,avg_frame_rate", "-of", "json")
        found = json.loads(subprocess.run(["ffprobe", "-v", "error", *told, target], capture_output=True).stdout)
        assert found["streams"] == [{"avg_frame_rate": "10/1", "nb_read_frames": "5"}]
    else:
        with Image.open(target) as image:
            image.load()
            assert (image.n_frames, image.info["duration"], image.info["loop"]) == (5, 100, 0)


@pytest.mark.parametrize(
    "path, said", [("a.jpg", "films are written as .gif"), ("a.avi", "not '.avi'"), ("no/a.gif", "is not there")]
)
def test_a_film_that_cannot_be_made(place, path, said):
    """Failure: hours of frames are made, and then there is no place or no format for the film."""
    with pytest.raises(KStyleError, match=said):
        files.check_target(path)
