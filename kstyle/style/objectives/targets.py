"""What a painting is to reach: the statistics of the styles and the features of the content, computed once a pass."""

from typing import Any

import keras
import numpy as np

from kstyle.models import features
from kstyle.style.colour import modes as colour
from kstyle.style.losses import terms
from kstyle.style.losses.positions import Positions
from kstyle.style.objectives import objective, strength, tiles, tiling
from kstyle.style.objectives.objective import features_of
from kstyle.style.passes.scene import Scene
from kstyle.style.passes.sizes import Pass
from kstyle.style.passes.styles import Styles, kept

ops = keras.ops

# Of a style picture all layers look at tiles, of this side at most, though only half of them look at the painting's.
TILE_OF_STYLE = 512


def style_targets(extractor, settings, styles, blend, seed=0, seen=None, apart=False, tile=None):
    """What the style terms are to reach: {term: target}, see `kstyle.style.losses.terms.target`.

    Args:
        extractor: `kstyle.models.features.Extractor` with at least `settings.taps`.
        settings: `kstyle.style.settings.StyleSettings`.
        styles: list of (H, W, 3) float32 RGB in [0, 1], of any sizes.
        blend: a weight for each, of any sum.
        seed: of the positions that sampling terms take from a style, which stay the same.
        seen: for each style the `kstyle.style.passes.regions.Region` of it that counts, or None.
        apart: keep every style by itself, for an `Objective` with regions; a style's share is then the ratio
            of its weight to the mean.
        tile: look at each style in tiles of so many pixels a side; None: whole.
    """
    share = np.asarray(blend, "float32") / (np.mean(blend) if apart else np.sum(blend))
    blend = [float(weight) for weight in share]
    turns = range(4 if settings.style.turned else 1)
    views = [np.ascontiguousarray(np.rot90(picture, turn)) for picture in styles for turn in turns]
    seen = seen and [region and region.turned(turn) for region in seen for turn in turns]
    wanted = {name: term for name, term in settings.style_terms.items() if term.weight}
    if tile is None:
        found = [features_of(extractor, ops.convert_to_tensor(view)) for view in views]
        return {
            name: terms.target(term, found, blend, Positions(seed), seen, apart, len(turns))
            for name, term in wanted.items()
        }
    pairs = list(zip(views, seen or [None] * len(views)))
    divided = [tiles.Tiles(extractor, view.shape[:2], tile) for view in views]
    return {
        name: terms.target_of(
            term,
            [tiling.statistics(extractor, term, *pair, each) for pair, each in zip(pairs, divided)],
            *(blend, apart, len(turns)),
        )
        for name, term in wanted.items()
    }


def content_targets(extractor, settings, content):
    """{tap: (1, H, W, C) float32} of content: (H, W, 3) float32 RGB in [0, 1]."""
    found, factor = features_of(extractor, ops.convert_to_tensor(content)), settings.content.target_factor

    def aim(activations):
        return ops.stop_gradient(factor * ops.cast(activations, "float32"))

    return {tap: aim(found[tap]) for tap in settings.content.layers}


def matched(extractor, settings, targets, content, picture=None, seed=0, regions=None):
    """Style targets for one picture: terms that look for their matches once have found them.

    Args:
        extractor, settings, seed, regions: as for `objective`.
        targets: from `style_targets`.
        content: (H, W, 3) float32 RGB in [0, 1].
        picture: what the painting is as yet, likewise; None: nothing.
    """
    guides, found = {}, dict(targets)
    for name, reached in targets.items():
        term = settings.style_terms[name]
        if terms.kind_of(term).match is None:
            continue
        mix = 0.0 if picture is None else term.mix
        if mix not in guides:
            guide = content if not mix else (mix * picture + (1 - mix) * content).astype("float32")
            guides[mix] = features_of(extractor, ops.convert_to_tensor(guide))
        found[name] = terms.matched(term, guides[mix], reached, Positions(seed), regions)
    return found


class Kept:
    """What `style_targets` gives, kept from content to content unless a colour mode makes the styles follow contents.

    Args:
        styles: `kstyle.style.passes.styles.Styles`.
    """

    def __init__(self, styles: Styles) -> None:
        self.styles = styles
        self._found: dict[Any, Any] = {}

    def of(
        self, extractor: features.Extractor, settings: Any, scene: Scene, seed: int, tile: int | None = None
    ) -> dict[str, Any]:
        """The style targets of a pass.

        Args:
            extractor: `kstyle.models.features.Extractor`.
            settings: `kstyle.style.settings.StyleSettings` of the pass.
            scene: its `kstyle.style.passes.scene.Scene`.
            seed, tile: as for `style_targets`.
        """
        apart = scene.regions is not None

        def find():
            seen = scene.style_regions
            return style_targets(extractor, settings, scene.styles, self.styles.blend, seed, seen, apart, tile)

        if colour.styles_follow_content(settings.colour):
            return find()
        wanted = tuple(name for name, term in settings.style_terms.items() if term.weight)
        return kept(self._found, (tuple(picture.shape for picture in scene.styles), wanted, seed, apart, tile), find)

    def __getstate__(self):
        """Sent to another process without what is kept."""
        return {**self.__dict__, "_found": {}}


def objective_of(
    extractor: features.Extractor,
    known: Kept,
    now: Pass,
    scene: Scene,
    seen: np.ndarray | None,
    held: Any,
    seed: int,
    side: int,
) -> objective.Objective:
    """What a pass minimises, its targets computed.

    Args:
        extractor, seed: as for `style_targets`.
        known: the style targets of other passes and contents.
        now: the pass; `scene`: what it looks at.
        seen: the picture as it is, (H, W, 3) with its margin; None before the first pass.
        held: what holds it to another picture, as `kstyle.style.objectives.objective.Objective` takes it.
        side: long side of the finished picture in pixels.
    """
    settings, around, masks = now.settings, scene.around, scene.regions
    of_style = min(now.tile, TILE_OF_STYLE) if now.halved else now.tile
    style = known.of(extractor, settings, scene, seed, of_style)
    if now.tile is None:
        aims = content_targets(extractor, settings, around)
        style = matched(extractor, settings, style, around, seen, seed, masks)
        aim = objective.Objective(extractor, settings, aims, style, seed, masks, held)
    else:
        divided = (tiles.Halves if now.halved else tiles.Tiles)(extractor, around.shape[:2], now.tile)
        content = tiles.Content(settings, around, divided)
        aim = tiling.TiledObjective(extractor, settings, content, style, divided, masks, held)
    if settings.strength is not None and settings.content.weight and settings.has_style:
        aim = strength.balanced(aim, around, side, masks)
    return aim
