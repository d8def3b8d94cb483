"""What a person sees while a command runs: bars with time left, notes, a thumbnail. Nothing of it where no terminal
is."""

import logging
import time

import numpy as np
from rich.console import Console, Group
from rich.live import Live
from rich.logging import RichHandler
from rich.progress import BarColumn, DownloadColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress
from rich.text import Text

THUMBNAIL_COLUMNS = 48
# Seconds between two thumbnails: drawing one fetches the picture from the device.
THUMBNAIL_INTERVAL = 2.0


class Progress:
    """A context manager; inside, kstyle's log goes above the bar.

    Args:
        quiet: no bars and no notes, warnings only.
        preview: a thumbnail of the picture in work.
    """

    def __init__(self, quiet=False, preview=False):
        self._console = Console(stderr=True)
        self._shown = self._console.is_terminal and not quiet
        self._preview = preview and self._shown
        self._log = logging.getLogger("kstyle")
        if self._shown:
            self._handler = RichHandler(
                console=self._console, show_time=False, show_level=False, show_path=False, highlighter=None
            )
        else:  # a line is a line, however long
            self._handler = logging.StreamHandler()
        self._level = logging.WARNING if quiet else logging.INFO
        self._handler.setLevel(self._level)  # a run's log.txt wants more of the logger
        self._bar = RichProgress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[losses]}"),
            TimeRemainingColumn(),
            TextColumn("left"),
        )
        self._download = RichProgress(TextColumn("download"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
        self._pictures = RichProgress(TextColumn("pictures"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self._thumbnail = Text()
        self._drawn = -THUMBNAIL_INTERVAL
        self._task = None

    def __enter__(self):
        self._log.addHandler(self._handler)
        self._before = self._log.level
        self._log.setLevel(self._level)
        self._log.propagate = False
        self._live = Live(
            Group(self._download, self._pictures, self._bar, self._thumbnail),
            console=self._console,
            refresh_per_second=8,
        )
        if self._shown:
            self._live.start()
        return self

    def __exit__(self, *error):
        if self._shown:
            self._live.stop()
        self._log.removeHandler(self._handler)
        self._log.setLevel(self._before)
        self._log.propagate = True

    def step(self, step):
        """To be called after each step with a `kstyle.style.engine.loop.Step`."""
        if not self._shown:
            return
        if self._task is None:
            self._task = self._bar.add_task("", total=step.total, losses="")
        losses = step.losses
        total = losses.pop("loss")
        terms = ", ".join(f"{name} {value:.3g}" for name, value in losses.items())
        self._bar.update(
            self._task, completed=step.step + 1, description=f"{step.scale} px", losses=f"loss {total:.4g} ({terms})"
        )
        if self._preview and step.seconds - self._drawn > THUMBNAIL_INTERVAL:
            self._drawn = step.seconds
            self._thumbnail.truncate(0)
            self._thumbnail.append_text(thumbnail(step.image()))

    def look(self, look):
        """To be called now and then while a network trains, with a `kstyle.training.loop.fit.Look`."""
        if not self._shown:
            return
        if self._task is None:
            self._task = self._bar.add_task("", total=look.steps * look.epochs, losses="")
        said = f"loss {look.loss:.4g}, accuracy {look.accuracy:.3f}, {look.images_per_second:.0f} images/s"
        done = look.epoch * look.steps + look.batch
        self._bar.update(self._task, completed=done, description=f"epoch {look.epoch + 1}/{look.epochs}", losses=said)

    def learning(self, look):
        """To be called now and then while a style network learns, with a `kstyle.style.learning.learn.Look`."""
        if not self._shown:
            return
        if self._task is None:
            self._task = self._bar.add_task("", total=look.steps or 100, losses="")
        said = f"loss {look.losses['loss']:.4g}"
        if look.held_out is not None:
            said += f", {look.held_out['loss']:.4g} on photographs held out"
        done, what = (look.step, "steps") if look.steps else (round(100 * look.progress), f"step {look.step}, %")
        self._bar.update(self._task, completed=done, description=what, losses=said)

    def steps(self, done, total):
        """To be called after each of many steps that are all alike."""
        if not self._shown:
            return
        if self._task is None:
            self._task = self._bar.add_task("steps", total=total, losses="")
        self._bar.update(self._task, completed=done)

    def gather(self, state):
        """To be called while many pictures are downloaded, with a `kstyle.data.lists.gather.State`."""
        if not self._shown:
            return
        if self._task is None:
            self._task = self._bar.add_task("pictures", total=state.total, losses="")
        said = f"{state.failed:,} failed, {state.bytes / 1e6:,.0f} MB, {state.rate:.0f}/s"
        self._bar.update(self._task, completed=state.done + state.failed, losses=said)

    def download(self, done, total, what="bytes"):
        """To be called while files are downloaded, or looked at and decoded (`what="pictures"`), with how many are done
        and how many there are (None: not known)."""
        bar = self._download if what == "bytes" else self._pictures
        if not bar.tasks:
            bar.add_task("", total=total)
        bar.update(bar.tasks[0].id, completed=done, total=total)


class PicturesProgress(Progress):
    """A `Progress` with a bar over pictures above that of steps; `pictures(total)` first, then `picture(state)` after
    each."""

    def __init__(self, quiet=False):
        super().__init__(quiet)
        # Time left is told here: rich's looks at the last half minute, and a picture may take longer.
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
        self._pictures = RichProgress(*columns, TextColumn("{task.fields[said]}"))

    def pictures(self, total, what="pictures"):
        """How many there are to paint, and what they are."""
        self._over = self._pictures.add_task(what, total=total, said="")
        self._total, self._ready, self._made, self._failed = total, 0, 0, 0
        self._since = time.perf_counter()

    def picture(self, state):
        """One more is `"done"`, `"skipped"` or `"failed"`."""
        self._ready += 1
        self._failed += state == "failed"
        self._made += state == "done"
        self._say(0.0)

    def step(self, step):
        if self._task is not None and step.step == 0:  # frames have other numbers of steps
            self._bar.reset(self._task, total=step.total, losses="")
        super().step(step)
        self._say((step.step + 1) / step.total)

    def _say(self, part):
        made = self._made + part
        said = f"{self._failed} failed  " if self._failed else ""
        if made:
            each = (time.perf_counter() - self._since) / made
            said += f"{1 / each:.1f}/s  " if each < 1 else ""
            said += f"{clock(each * (self._total - self._ready - part))} left"
        self._pictures.update(self._over, completed=self._ready, said=said)


def clock(seconds):
    """3725.4 -> `"1:02:05"`."""
    minutes, seconds = divmod(round(max(seconds, 0)), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{seconds:02d}"


def thumbnail(rgb, columns=THUMBNAIL_COLUMNS):
    """rgb: (H, W, 3) in [0, 1] -> coloured text, two pixels a character, one above the other."""
    from kstyle.pictures import images

    height = max(1, round(columns * rgb.shape[0] / rgb.shape[1] / 2)) * 2
    small = (np.clip(images.resize(rgb, (height, columns)), 0, 1) * 255).astype(int)
    text = Text()
    for upper, lower in zip(small[::2], small[1::2]):
        for top, bottom in zip(upper, lower):
            text.append("▀", f"rgb({top[0]},{top[1]},{top[2]}) on rgb({bottom[0]},{bottom[1]},{bottom[2]})")
        text.append("\n")
    return text
