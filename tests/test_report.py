"""kstyle report: pages of paintings, sweeps and trainings in a real browser, opened from a file; the page of a run that
goes on is in test_live.py."""

import json
import shlex
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from browser import PHONE, findings, opened
from pictures import SHALLOW, example
from PIL import Image, PngImagePlugin

import kstyle
from kstyle import cli
from kstyle.errors import DataError, UsageError
from kstyle.pages import charts, pictures
from kstyle.pictures import images
from kstyle.style import settings
from kstyle.style.jobs import again
from kstyle.style.keeping import folder as paintings

EVIL = "<img src=x onerror=alert(1)>"
DIGITS = {"data.train_limit": 60, "data.test_limit": 40, "batch": 20, "deterministic": True}
TUNED = {
    **DIGITS, "epochs": None, "schedule": "constant",
    "stages": [{"train": "head", "epochs": 2, "augment": False}, {"train": "all", "epochs": 1}],
}  # fmt: skip


# Pictures on a page: slider, style and two sizes; slider and style; cells.
SHOWN = {"painting": 5, "png": 3, "sweep": 4}


def call(*arguments):
    with pytest.raises(SystemExit) as ended:
        cli.main([str(each) for each in arguments])
    assert not ended.value.code, arguments


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with a run of each kind, as small as they can be, and `{kind: its page}`."""
    place = tmp_path_factory.mktemp("made")
    (place / "shallow.yaml").write_text(SHALLOW + "scales: {smallest: 48, steps: [3, 4]}\n")
    content, style, odd = place / "cat.jpg", place / f"{EVIL}.png", place / "odd"
    images.write(content, example("chelsea", 96))
    images.write(style, example("night", 96))
    odd.mkdir()
    painted = ("--preset", place / "shallow.yaml", "--size", 96, "--steps", 7, "--deterministic", "-q")
    call("stylize", content, style, "-o", place / "painted.png", "--run", place / "painting", *painted)
    varied = ("--vary", "style.weight=1,100", "--vary", "tv.weight=0,1e-3")
    call("sweep", content, style, "-o", place / "sheet.png", "--size", 48, *painted[:2], "--steps", 2, *varied, "-q")
    kstyle.train("digits_cnn", run=place / "training", overrides={**DIGITS, "epochs": 3})
    kstyle.train("digits_cnn", run=place / "tuned", overrides=TUNED)
    pages = {
        "painting": kstyle.report(place / "painting"),
        "png": kstyle.report(place / "painted.png", content=content, styles=[style], compare=False),
        "sweep": kstyle.report(place / "sheet.csv"),
        "training": kstyle.report(place / "training", evaluate=True),
        "tuned": kstyle.report(place / "tuned", place / "tuned.html"),
    }
    return place, pages


@pytest.mark.parametrize("kind", ["painting", "png", "sweep", "training", "tuned"])
def test_a_page_opens_from_its_file(made, kind):
    """Failure: it asks for something else, says an error, is too large to send, or cannot be read by some, light or
    dark, on a desk or a phone."""
    page = made[1][kind]
    assert page.stat().st_size < 5e6
    with opened(page) as seen:
        for scheme in ("light", "dark"):
            seen.page.emulate_media(color_scheme=scheme)
            assert findings(seen) == []
        seen.page.set_viewport_size({"width": PHONE[0], "height": PHONE[1]})
        assert seen.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert seen.page.evaluate("[...document.images].every(i => i.naturalWidth > 0)")
        assert seen.page.evaluate("document.images.length") == SHOWN.get(
            kind, seen.page.locator(".examples figure").count()
        )
        assert not seen.requests and not seen.errors


def test_the_slider_moves(made):
    """Failure: the photograph under the slider does not follow pointer or keys."""
    with opened(made[1]["painting"]) as seen:
        clip = "getComputedStyle(document.querySelector('.compare .before')).clipPath"
        box = seen.page.locator(".compare").bounding_box()
        assert seen.page.evaluate(clip) == "inset(0px 50% 0px 0px)"
        seen.page.mouse.click(box["x"] + box["width"] / 4, box["y"] + box["height"] / 2)
        assert seen.page.evaluate(clip) == "inset(0px 75% 0px 0px)"
        seen.page.keyboard.press("End")
        assert seen.page.evaluate(clip) == "inset(0px 0% 0px 0px)" and not seen.page.locator(".said.right").is_visible()
        seen.page.keyboard.press("ArrowLeft")
        assert seen.page.evaluate(clip) == "inset(0px 1% 0px 0px)"


def test_losses_under_the_pointer(made):
    """Failure: a curve says another loss than the history has at this step, or its scale cannot be changed."""
    place, pages = made
    history = pd.read_csv(place / "painting" / "history.csv")
    with opened(pages["painting"]) as seen:
        chart = seen.page.locator(".chart").first
        chart.scroll_into_view_if_needed()
        box = chart.locator(".u-over").bounding_box()
        for step in (0, 5):
            share = step / (len(history) - 1)
            seen.page.mouse.move(box["x"] + 1 + share * (box["width"] - 2), box["y"] + box["height"] / 2)
            said = [float(text) for text in chart.locator(".u-value").all_inner_texts() if text != "–"]
            row = history[["step", "loss", "content", "style"]].iloc[step].to_numpy()
            np.testing.assert_allclose(said, row[[0, 1, *range(2, len(said))]] if row[2] else row[[0, 1, 3]], rtol=1e-3)
        kind = "document.querySelector('.chart').plot.scales.y.distr"
        logarithmic = seen.page.evaluate(kind)
        chart.get_by_role("button", name="log").click()
        assert (logarithmic, seen.page.evaluate(kind)) == (3, 1)
        assert [mark["label"] for mark in charts_of(pages["painting"])[0]["marks"]] == ["48 px", "96 px"]


def charts_of(page):
    """What the charts of a page are drawn from."""
    parts = Path(page).read_text("utf-8").split('<script type="application/json">')[1:]
    return [made for part in parts if "lines" in (made := json.loads(part.partition("</script>")[0]))]


def test_confusions_and_classes(made):
    """Failure: a cell of the matrix says another number than confusion.csv; the table of classes sorts wrongly; a right
    prediction is shown as a wrong one."""
    place, pages = made
    matrix = pd.read_csv(place / "training" / "confusion.csv", index_col=0).to_numpy()
    recall = pd.read_csv(place / "training" / "per_class.csv")["recall"].to_numpy()
    with opened(pages["training"]) as seen:
        canvas = seen.page.locator(".confusion canvas")
        canvas.scroll_into_view_if_needed()
        canvas.focus()
        said = seen.page.locator(".confusion output")
        for keys, (true, told) in (([], (0, 0)), (["ArrowDown"] * 3 + ["ArrowRight"] * 2, (3, 2))):
            seen.page.keyboard.press("ArrowUp")
            for key in keys:
                seen.page.keyboard.press(key)
            assert said.inner_text().startswith(f"{true} told as {told}: {matrix[true, told]} of {matrix[true].sum()} ")
        box, edge = canvas.bounding_box(), seen.page.evaluate("document.querySelector('.confusion canvas').clientWidth")
        seen.page.mouse.move(box["x"] + edge - 3, box["y"] + 3)
        assert said.inner_text().startswith(f"0 told as 9: {matrix[0, 9]} of {matrix[0].sum()} ")
        table = seen.page.get_by_role("region", name="Scores of each class").locator("table")
        for order in (1, -1):
            table.get_by_role("button", name="recall").click()
            column = table.locator("tbody tr td:nth-child(3)").all_inner_texts()
            np.testing.assert_allclose([float(text) for text in column], np.sort(recall)[::order], atol=1e-4)
        wrong = seen.page.locator(".examples .wrong").count()
        assert wrong == min(24, matrix.sum() - np.trace(matrix))
        lines = seen.page.locator(".examples .right figcaption").first.inner_text().splitlines()
        assert lines[1].split(":")[0].removeprefix("is ") == lines[2].split(":")[0].removeprefix("said ")


def test_stages_are_marked(made):
    """Failure: in the curves of a fine-tuning nobody sees where its second stage begins."""
    for chart in charts_of(made[1]["tuned"]):
        assert chart["x"] == [1, 2, 3]
        assert [(mark["at"], mark["label"]) for mark in chart["marks"]] == [(1, "1: head"), (3, "2: all")]


def test_what_files_say_is_text(made, tmp_path):
    """Failure: HTML in a name, or in the recipe of a stranger's PNG, is run as part of the page."""
    pages = made[1]
    secret = tmp_path / "secret.png"
    Image.new("RGB", (8, 8), "red").save(secret)
    evil = {"preset": EVIL, "description": "</script><script>alert(2)</script>", "content": str(secret), "steps": EVIL,
            "style": {"loss": EVIL}, "blend": [EVIL], "size": [1e400, EVIL], "init": str(secret)}  # fmt: skip
    text = PngImagePlugin.PngInfo()
    text.add_text("kstyle", json.dumps(evil))
    Image.new("RGB", (32, 24)).save(tmp_path / "evil.png", pnginfo=text)
    ours = Path(pages["painting"]).read_text("utf-8").count("<script")
    for page in (kstyle.report(tmp_path / "evil.png"), pages["painting"], pages["sweep"]):
        with opened(page) as seen:
            asked = []
            seen.page.on("dialog", lambda dialog, asked=asked: (asked.append(dialog.message), dialog.dismiss()))
            seen.page.reload()
            seen.page.wait_for_timeout(50)
            assert not asked and not seen.errors and EVIL in seen.page.inner_text("body")
            assert seen.page.locator("script").count() <= ours


@pytest.mark.parametrize(
    "text", ["[1]", "{", "[" * 100_000, None], ids=["no mapping", "no JSON", "very deep", "no recipe"]
)
def test_a_png_of_others(tmp_path, text):
    """Failure: a traceback where a PNG has no recipe, or a damaged one."""
    info = PngImagePlugin.PngInfo()
    if text is not None:
        info.add_text("kstyle", text)
    Image.new("RGB", (32, 24)).save(tmp_path / "a.png", pnginfo=info)
    with pytest.raises(DataError, match="recipe"):
        kstyle.report(tmp_path / "a.png", compare=False)


def test_the_command_paints_it_again(made, tmp_path):
    """Failure: the command on the page paints another picture, or the command of a preset that has a name says more
    than that."""
    folder = made[0] / "painting"
    record = paintings.Folder(folder).record()
    given = [record["pictures"][name]["path"] for name in ("content", "style_1")]
    numbers = {key: record[key] for key in ("size", "steps", "seed")}
    line = again.line(record["made_with"], given[0], given[1:], numbers, {})
    words = shlex.split(line)
    assert words[:2] == ["kstyle", "stylize"] and "--deterministic" in words
    call(*words[1:], "-o", tmp_path / "again.png", "-q")
    assert np.array_equal(np.array(Image.open(tmp_path / "again.png")), np.array(Image.open(folder / "picture.png")))
    plain = settings.load("gatys", {"style.weight": 7}).model_dump(mode="json")
    assert again.changes({**plain, "preset": "gatys"}) == ("gatys", {"style.weight": 7.0})
    assert again.changes({"preset": "gatys", "style": EVIL}) is None


def test_only_what_it_began_with_is_shown(made, tmp_path):
    """Failure: a folder makes any file of this machine part of a page, or shows a photograph that it was not painted
    of."""
    folder = tmp_path / "copy"
    shutil.copytree(made[0] / "painting", folder)
    record = json.loads((folder / "painting.json").read_text())
    private = tmp_path / "private.png"
    Image.new("RGB", (40, 30), "red").save(private)
    record["pictures"]["content"]["path"] = str(private)
    record["pictures"]["style_1"] = {"kept": "../private.png", "sha256": record["pictures"]["style_1"]["sha256"]}
    (folder / "painting.json").write_text(json.dumps(record))
    (folder / "size-48.webp").unlink()
    with opened(kstyle.report(folder, compare=False)) as seen:
        assert seen.page.locator("img").count() == 2  # the painting, and once more at its size
        assert "has changed since, and is not shown" in seen.page.inner_text("body")


def test_pages_replace_no_file_of_others(made, tmp_path, command):
    """Failure: a page takes the place of what it is made of, or of a page that its user wrote."""
    place = made[0]
    shutil.copy(place / "painted.png", tmp_path / "a.png")
    (tmp_path / "a-report.html").write_text("mine")
    code, _, said = command("report", tmp_path / "a.png", "--no-compare", "-q")
    assert code == 2 and "kstyle did not write it" in said and (tmp_path / "a-report.html").read_text() == "mine"
    with pytest.raises(UsageError, match="is a page"):
        kstyle.report(tmp_path / "a.png", tmp_path / "a.png")
    with pytest.raises(UsageError, match="about a training"):
        kstyle.report(place / "painting", evaluate=True)
    with pytest.raises(DataError, match="no run's folder"):
        kstyle.report(tmp_path)
    code, printed, _ = command("report", place / "sheet.png", "-o", tmp_path / "sheet.html", "--json")
    assert code == 0 and json.loads(printed)["bytes"] == (tmp_path / "sheet.html").stat().st_size


def test_a_comparison_and_a_study(made, tmp_path, command):
    """Failure: their pages lack pictures, or say other figures than the tables that they are made of."""
    place = made[0]
    given = [place / "painted.png", place / "sheet-pictures" / "001.png", "--content", place / "cat.jpg"]
    code, printed, _ = command("compare", *given, "--html", tmp_path / "c.html", "--json")
    assert code == 0
    figures = json.loads(printed)["pictures"]
    study = tmp_path / "study"
    study.mkdir()
    done = {"seed": 0, "state": "done", "loss": 1.0, "seconds": 2.0, "run": "r", "error": ""}
    rows = [{"batch": batch, **done, "top1": top} for batch, top in ((8, 0.5), (32, 0.75))]
    pd.DataFrame(rows).to_csv(study / "study.csv", index=False)
    means = [{"batch": row["batch"], "seeds": 1, "top1": row["top1"], "seconds": 2.0} for row in rows]
    pd.DataFrame(means).to_csv(study / "summary.csv", index=False)
    with opened(tmp_path / "c.html") as seen:
        assert seen.page.locator("img").count() == 3 and not seen.errors and not seen.requests
        cells = seen.page.locator("tbody tr").first.locator("td").all_inner_texts()
        assert cells[0] == "ssim"
        np.testing.assert_allclose([float(x) for x in cells[1:3]], [figures[k]["ssim"] for k in figures], rtol=1e-3)
    page = kstyle.report(study)
    assert charts_of(page)[0]["x"] == [8, 32] and charts_of(page)[0]["lines"][0]["values"] == [50, 75]
    with opened(page) as seen:
        assert "75.00 %" in seen.page.inner_text(".figures") and not seen.errors


def test_many_pictures_and_steps_fit():
    """Failure: the page of a hundred pictures, or of a million steps, is larger than can be sent."""
    noise = np.random.default_rng(0).integers(0, 256, (40, 200, 300, 3), "uint8")
    found = pictures.within(list(noise), 300, 400_000)
    assert sum(len(text) for text, _, _ in found) <= 400_000 and len(found) == 40
    assert all(abs(width / height - 1.5) < 0.1 for _, width, height in found)
    count = 10_001
    chart = charts.chart("loss", "step", range(count), {"loss": [float(n) for n in range(count)]})
    assert len(chart["x"]) <= charts.MOST + 1 and chart["x"][-1] == chart["lines"][0]["values"][-1] == count - 1
