"""`kstyle batch`: many contents, or the frames of a film, in one style."""

import contextlib
import time
from pathlib import Path

import click

from kstyle.cli.common import options as painting
from kstyle.errors import DataError, UsageError
from kstyle.io import crew
from kstyle.io.files import json_text, listed, one_line

MOST_NAMED = 5  # files that were left out


@click.command()
@click.argument("contents", type=painting.PATH, metavar="CONTENT...", nargs=-1, required=True)
@click.option(
    "--style", "styles", type=painting.STYLE, metavar="FILE|style:NAME", multiple=True, required=True,
    help="A style picture, repeatable; or a style network.",
)  # fmt: skip
@click.option(
    "-o", "--output", type=painting.PATH, metavar="DIR", required=True,
    help="Folder of the results; made if need be.",
)  # fmt: skip
@click.option("--format", "form", default="png", show_default=True, type=click.Choice(["png", "jpg", "webp", "tiff"]))
@click.option("--recursive", is_flag=True, help="Pictures in folders below too; DIR gets the same tree.")
@click.option("--force", is_flag=True, help="Make again what is done.")
@painting.preset
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Change any setting of the preset.")
@click.option("--size", default=512, show_default=True, help="Long side of each result, pixels.")
@click.option("--steps", type=int, help="Gradient evaluations a picture.  [default: the preset's]")
@click.option("--strength", type=float, metavar="0..1", help="How much style; 0.5 is usual.")
@painting.network
@painting.style_weight
@painting.colour
@painting.init
@painting.extractor
@painting.weights
@painting.precision
@painting.device
@painting.seed
@painting.deterministic
@painting.max_memory
@painting.jobs
@painting.cluster
@click.option(
    "--together", metavar="N", type=click.IntRange(1, 256),
    help="Pictures of one shape painted as one batch.  [default: by size]",
)  # fmt: skip
@click.option("--frames", is_flag=True, help="The contents are a film's frames: each follows the one before it.")
@click.option("--frame-steps", type=int, metavar="N", help="Steps from the second frame on.  [default: a third]")
@click.option("--temporal", type=float, metavar="W", help="How much frames are held to each other.  [default: 3]")
@painting.plugin
@click.option("--json", "as_json", is_flag=True, help="Print a JSON summary on standard output.")
@click.option("-q", "--quiet", is_flag=True, help="Print nothing but warnings and errors.")
def batch(
    contents, styles, output, form, recursive, force, preset, overrides, strength, style_weight, colour, init,
    extractor, network, size, steps, seed, jobs, cluster, together, frames, frame_steps, temporal, as_json, quiet,
    **options,
):  # fmt: skip
    """Paint every CONTENT, pictures and folders of them, in one style.

    What is done is skipped: the same command goes on where it was stopped. A single video or animated GIF is painted
    frame by frame and made a film again. Exit code 1: some pictures failed; 2: nothing was begun.
    """
    learned = painting.style_network(styles, network)
    count = len(learned["styles"]) if learned else len(styles)
    settings, blend = painting.settings_and_blend(
        preset, count, style_weight, overrides, strength=strength, colour=colour, init=init, extractor=extractor
    )
    crew.chosen(jobs, cluster)

    # Everything above answers at once; from here on a framework is loaded.
    from kstyle.cli.common.progress import PicturesProgress

    with PicturesProgress(quiet=quiet or as_json) as progress, contextlib.ExitStack() as stack:
        from kstyle.pictures.films import files, video
        from kstyle.style import transfer
        from kstyle.style.by_arbitrary import ArbitraryPainter
        from kstyle.style.by_network import NetworkPainter
        from kstyle.style.jobs import batch as batches
        from kstyle.style.jobs import film as films
        from kstyle.style.jobs.contents import survey
        from kstyle.style.jobs.films.frames import Motion

        with _not_begun():
            film = contents[0] if len(contents) == 1 and files.is_film(contents[0], animations=frames) else None
            motion = _motion(Motion, (frames or film) and not (learned or network), frame_steps, temporal)
            videos = [path for path in contents if Path(path).suffix.lower() in video.FILMS]
            if videos and not film:
                raise UsageError(f"{one_line(videos[0])} is a video: give it alone, one at a time.")
            if learned:
                painter = NetworkPainter(styles[0], blend, options["precision"], settings, options["max_memory"])
            elif network:
                own = {"styles": list(styles), "weights": options["weights"], "progress": progress.download}
                painter = ArbitraryPainter(network, blend, options["precision"], settings, **own)
            else:
                options["progress"] = progress.download
                painter = transfer.Painter(list(styles), preset, blend=blend, **options, **settings)
            numbers, how = (size, steps, seed, progress.step), {"suffix": f".{form}", "force": force}
            how.update(motion=motion, jobs=jobs, together=together, cluster=cluster)
            by_network = film and (learned or network)
            if by_network and (steps is not None or jobs > 1 or cluster or (together or 1) > 1):
                raise UsageError("A style network paints a film's frames in no steps: leave out steps, jobs, together.")
            piped = by_network and films.through_pipes(painter, film, output, size, styles, force)
            if piped:
                found, left, target, outcomes = piped.contents, (), piped.target, piped.outcomes
            elif film:
                work = stack.enter_context(films.taken_apart(film, output, size, [*styles, init]))
                found, left, target = work.contents, (), work.target
                outcomes = films.paint(painter, work, *numbers, **how)
            else:
                target = Path(output)
                found, left = survey(contents, recursive, target)
                outcomes = batches.stylize_all(painter, found, target, *numbers, **how)
            progress.pictures(len(found), "frames" if film else "pictures")
        summary = Summary(found, left)
        try:
            for content, outcome in outcomes:
                summary.add(content, outcome)
                progress.picture(outcome.state)
        except KeyboardInterrupt:
            summary.interrupted = True
        except Exception:
            summary.list_failures()
            raise
    summary.report(target, len(found), as_json, quiet)


@contextlib.contextmanager
def _not_begun():
    """Whatever is wrong before the first picture is a UsageError: exit code 1 says that pictures failed."""
    try:
        yield
    except DataError as error:
        raise UsageError(str(error)) from error


def _motion(kind, wanted, steps, temporal):
    if not wanted:
        for option, value in (("--frame-steps", steps), ("--temporal", temporal)):
            if value is not None:
                raise UsageError(f"{option} is for a film's frames: give --frames too.")
        return None
    return kind(steps, **({} if temporal is None else {"temporal": temporal}))


class Summary:
    """What became of the contents so far."""

    def __init__(self, contents, left=()):
        self._numbers = {content.key: number for number, content in enumerate(contents)}
        # What nobody takes for a picture is not spoken of: previews and other hidden files, folders read elsewhere.
        self.left = [each for each in left if each.kind in ("name", "content", "special", "link")]
        self._failed = {}
        self.done, self.skipped, self.interrupted = 0, 0, False
        self._begun = time.perf_counter()

    def add(self, content, outcome):
        if outcome.state == "failed":
            self._failed[self._numbers[content.key]] = {"file": str(content.path), "error": outcome.error}
            return
        if outcome.state == "done":
            self.done += 1
        else:
            self.skipped += 1

    @property
    def failed(self):
        """[{"file", "error"}] in the order of the contents, whichever was tried first."""
        return [failure for _, failure in sorted(self._failed.items())]

    def list_failures(self):
        for failure in self.failed:
            click.echo(f"kstyle: {one_line(failure['file'])}: {failure['error']}", err=True)

    def report(self, target, total, as_json, quiet):
        """Prints it and exits: 130 interrupted, 1 with failures."""
        seconds = time.perf_counter() - self._begun
        self.list_failures()
        if as_json:
            left = [{"file": str(each.path), "why": each.why} for each in self.left]
            counts = {"output": str(target), "done": self.done, "skipped": self.skipped, "failed": self.failed}
            counts["left_out"] = left
            click.echo(json_text({**counts, "seconds": round(seconds, 2), "interrupted": self.interrupted}))
        elif self.interrupted:
            ready = self.done + self.skipped
            said = f"stopped with {ready} of {total} pictures done; the same command goes on from there"
            click.echo(f"kstyle: {said}", err=True)
        elif not quiet:
            parts = [f"{self.done} painted in {seconds:.0f} s"]
            parts += [f"{self.skipped} skipped, done before"] if self.skipped else []
            parts += [f"{len(self.failed)} failed"] if self.failed else []
            click.echo(f"{target}: {', '.join(parts)}", err=True)
            if self.left:
                said = listed((f"{Path(each.path).name} ({each.why})" for each in self.left), MOST_NAMED, 400)
                click.echo(f"left out, {len(self.left)} that are no pictures: {said}", err=True)
        if self.interrupted or self.failed:
            raise click.exceptions.Exit(130 if self.interrupted else 1)
