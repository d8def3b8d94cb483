"""Films painted by a style network, through ffmpeg's pipes."""

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from batches import summary

import kstyle
from kstyle.pictures.films import video
from kstyle.style.by_network import NetworkPainter
from kstyle.style.jobs import film
from kstyle.style.jobs.films import pipes
from kstyle.style.networks import style_file
from kstyle.style.networks.network import style_network

pytestmark = pytest.mark.skipif(
    not (shutil.which("ffmpeg") and shutil.which("ffprobe")), reason="ffmpeg is not installed"
)
SOUND = ("-f", "lavfi", "-i", "sine=duration=0.4")


@pytest.fixture
def clip(place):
    """clip.mp4, 12 frames of 50×38 with sound, and noise.keras, a network with weights drawn at random."""
    ffmpeg("-f", "lavfi", "-i", "gradients=size=50x38:rate=30000/1001:duration=0.4", *SOUND, "-crf", "5", "clip.mp4")
    model, rng = style_network(0.15), np.random.default_rng(0)
    model.get_layer("change").set_weights([rng.normal(0, 0.005, (9, 9, 5, 3)), np.zeros(3)])
    facts = {"width": 0.15, "styles": ["noise"], "brush": None, "size": 64, "learned": {}}
    style_file.StyleFile(model, facts, (np.zeros((8, 8, 3), "float32"),)).write("noise.keras")


def ffmpeg(*arguments):
    subprocess.run(["ffmpeg", "-v", "error", "-y", *arguments], check=True)


def streams(path):
    asked = ["ffprobe", "-v", "error", "-show_streams", "-of", "json", path]
    found = json.loads(subprocess.run(asked, check=True, capture_output=True).stdout)["streams"]
    return {stream["codec_type"]: stream for stream in found}


def decoded(path, width, height):
    """Its frames, (B, height, width, 3) uint8, at that size."""
    asked = ["ffmpeg", "-v", "error", "-i", path, "-s", f"{width}x{height}", "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    raw = subprocess.run(asked, check=True, capture_output=True).stdout
    return np.frombuffer(raw, np.uint8).reshape(-1, height, width, 3).copy()


def apart(frames, others):
    """Mean difference of two films in grey levels, of means of 2×2 pixels: for so many an MP4 has one colour."""
    both = (each.astype(float).reshape(len(each), 19, 2, 25, 2, 3).mean((2, 4)) for each in (frames, others))
    return np.abs(next(both) - next(both)).mean()


def test_a_video_goes_through_pipes(clip, command):
    """Failure: frames are painted by other numbers, lost or shown at other times, without their sound; or a film that
    is done is painted once more."""
    options = ["clip.mp4", "--style", "noise.keras", "--size", 50, "--precision", "float32", "--json"]
    code, got = summary(command("batch", *options, "-o", "out"))
    assert (code, got["output"]) == (0, "out/clip.mp4") and got["done"] == 12
    shown = streams("out/clip.mp4")
    assert shown["video"]["avg_frame_rate"] == "30000/1001" and int(shown["video"]["nb_frames"]) == 12
    assert float(shown["audio"]["duration"]) == pytest.approx(0.4, abs=0.05)
    assert {path.name for path in Path("out").iterdir()} == {"clip.mp4", "batch.json"}
    painter = NetworkPainter("noise.keras", precision="float32")
    film = decoded("clip.mp4", 50, 38)
    wanted = painter.paint_frames(film)
    assert apart(decoded("out/clip.mp4", 50, 38), wanted) < 0.5 * apart(film, wanted)
    code, got = summary(command("batch", *options, "-o", "out"))
    assert (code, got["done"], got["skipped"]) == (0, 0, 12)
    code, got = summary(command("batch", *options, "-o", "out", "--strength", 0.1))  # almost the film
    assert (code, got["done"]) == (0, 12)
    assert apart(decoded("out/clip.mp4", 50, 38), film) < 0.5 * apart(film, wanted)
    assert kstyle.film("clip.mp4", "noise.keras", "other.mp4", size=32) == Path("other.mp4")
    assert (streams("other.mp4")["video"]["width"], streams("other.mp4")["video"]["height"]) == (32, 24)


def test_frames_are_painted_as_pictures_are(clip):
    """Failure: a film has other colours than its frames painted one by one."""
    frames = np.random.default_rng(0).integers(0, 256, (2, 24, 30, 3), np.uint8)
    settings = {"colour": "luminance-after", "strength": 0.7}
    painter = NetworkPainter("noise.keras", precision="float32", settings=settings)
    for frame, painted in zip(frames, painter.paint_frames(frames)):
        wanted = painter.paint(frame, size=30).rgb * 255
        np.testing.assert_allclose(painted, wanted, atol=1.01)


def test_what_ends_a_film_leaves_nothing(clip, monkeypatch):
    """Failure: half a film has the name of a whole one, or programs run on."""
    begun, popen = [], subprocess.Popen
    monkeypatch.setattr(subprocess, "Popen", lambda *given, **more: begun.append(popen(*given, **more)) or begun[-1])
    painter = NetworkPainter("noise.keras", precision="float32")
    Path("painted.mp4").write_bytes(b"of before")
    stopped = film.through_pipes(painter, "clip.mp4", "painted.mp4", 32).outcomes
    next(stopped), next(stopped)
    stopped.close()

    def fails(frames):
        raise MemoryError

    seen = video.look("clip.mp4")
    with pytest.raises(MemoryError):
        list(pipes.painted("clip.mp4", seen, 32, fails, "painted.mp4"))
    with pytest.raises(kstyle.DataError, match="ffmpeg failed"):  # which has no frame of three pixels' height
        list(pipes.painted("clip.mp4", seen, 32, lambda frames: frames[:, :1, :1], "painted.mp4"))
    with pytest.raises(kstyle.UsageError, match=r"the painted film ends in \.mp4"):
        film.through_pipes(painter, "clip.mp4", "painted.mkv", 32)
    with pytest.raises(kstyle.UsageError, match="would be replaced"):
        film.through_pipes(painter, "clip.mp4", "clip.mp4", 32)
    assert len(begun) >= 5 and all(process.poll() is not None for process in begun)
    assert Path("painted.mp4").read_bytes() == b"of before"
    assert {path.name for path in Path().iterdir()} == {"clip.mp4", "noise.keras", "painted.mp4"}


def test_a_rate_that_varies(clip, command):
    """Failure: a phone's film runs evenly where it stood still: pipes have one rate."""
    ffmpeg("-i", "clip.mp4", "-vf", "select='not(between(n,3,7))'", "-fps_mode", "passthrough", "-an", "phone.mp4")
    code, got = summary(command("batch", "phone.mp4", "--style", "noise.keras", "--size", 32, "--json", "-o", "out"))
    assert (code, got["done"]) == (0, 7) and len(list(Path("out/phone").glob("*.png"))) == 7
