"""An objective that is evaluated tile by tile: the same loss and the same gradient in a fraction of the memory.

Pass 1 looks at each tile and adds up what the losses are functions of (`kstyle.style.losses.summed`). The loss and its
gradient in these sums follow. Pass 2 looks at each tile again, now with a gradient: that of the sums, held fixed, times
what the tile adds to them. What a tile was shown beyond its core has a gradient too, which is added where it belongs.

Several ranks (`kstyle.backend.distribute`) share the tiles. The sums of all, and then the gradient, are added up, so
that each rank has the loss and the gradient of the whole picture.

Most of the memory is in the network's first layers, which see little of what lies around a tile; most of the work is in
the later ones, which see much of it. Where memory allows, only the first are tiled (`tiles.Halves`).
"""

from collections.abc import Callable
from dataclasses import dataclass

import keras
import numpy as np

from kstyle import backend
from kstyle.backend import distribute
from kstyle.errors import UsageError
from kstyle.models.features import BETWEEN
from kstyle.style.losses.scalings import CONTENT_DIFFERENCES
from kstyle.style.losses.summed import CONTENT_SUMMED, SUMMED, sum_of_weights
from kstyle.style.objectives.objective import Objective, features_of
from kstyle.style.passes import units

ops = keras.ops


def undivided(settings):
    """The losses of `kstyle.style.settings.StyleSettings` that cannot be computed from tiles: a list of names."""
    loss = settings.content.loss
    wrong = [loss] if settings.content.weight and loss not in CONTENT_DIFFERENCES else []
    wrong += [term.loss for term in settings.style_terms.values() if term.weight and term.loss not in SUMMED]
    return list(dict.fromkeys(wrong))


def check(settings, fits=None):
    """UsageError: a term cannot be computed from tiles; it is named.

    Args:
        settings: `kstyle.style.settings.StyleSettings`.
        fits: the largest size that can be painted whole, in pixels; None: not known.
    """
    if wrong := undivided(settings):
        said = f"; --size {fits} fits whole" if fits else ""
        raise UsageError(
            f"{', '.join(wrong)}: compares single places, and so needs the whole picture at once, which "
            f"takes more memory than there is{said}."
        )


@dataclass(frozen=True)
class _Part:
    """One layer of one term: what a tile adds to its sums, and its share of the loss of all.

    Attributes:
        column: of the history.
        tap: the layer.
        region: number of the style whose region counts, for its weights; None: everywhere.
        of_tile: (features, weights, goal) -> tensors that add up over tiles.
        loss: totals -> scalar.
    """

    column: str
    tap: str
    region: int | None
    of_tile: Callable
    loss: Callable


class TiledObjective:
    """As `kstyle.style.objectives.objective.Objective`, evaluated tile by tile.

    Args:
        extractor, settings, style_target, regions, anchor: as for `Objective`.
        content: `Content`.
        tiles: `Tiles`.
    """

    whole = False  # a step is not one program: the host goes from tile to tile
    redraws = False

    def __init__(self, extractor, settings, content, style_target, tiles, regions=None, anchor=None):
        self.extractor, self.settings, self._content, self._tiles = extractor, settings, content, tiles
        if not tiles.mine:
            raise UsageError(f"{distribute.world()} ranks cannot share {len(tiles.tiles)} tiles: start fewer.")
        self._style_target, self._regions, self._anchor = style_target, regions, anchor
        self._local = Objective(extractor, settings, {}, {}, anchor=anchor)
        every, beyond = [*self._of_content(), *self._of_style()], tiles.far.taps if tiles.far else ()
        self._columns = list(dict.fromkeys(part.column for part in every))
        self._parts = [part for part in every if part.tap not in beyond]
        self._beyond = [part for part in every if part.tap in beyond]
        self._taps = list(dict.fromkeys([*(part.tap for part in self._parts), *([BETWEEN] if self._beyond else [])]))
        self._programs, self._shapes = {}, None
        self._weights = {number: self._weights_at(self._parts, tile) for number, tile in tiles.mine}
        # Of the layers that are not tiled; on the device already, as all of them is used there at once.
        self._weights_beyond, self._goals_beyond = keras.tree.map_structure(
            ops.convert_to_tensor, (self._weights_at(self._beyond), content.beyond)
        )

    def with_settings(self, settings):
        """The same with other weights."""
        known = (self._content, self._style_target, self._tiles, self._regions, self._anchor)
        return TiledObjective(self.extractor, settings, *known)

    def measured(self, rgb):
        """{term: float} of a picture, (H, W, 3) float32 NumPy in [0, 1]."""
        totals, between = self._totals(units.to_space(rgb, self.settings.space))
        found = [self._loss(totals)[1]] if self._parts else []
        if self._beyond:
            found.append(backend.compile(self._loss_beyond, [])(ops.convert_to_tensor(between))[1])
        return {name: float(ops.convert_to_numpy(value)) for name, value in self._ordered(found).items()}

    def gradient(self, picture, step):
        """`values -> ((loss, parts), d loss / d values)`; arguments as for `Objective.gradient`."""
        of_sums = backend.compile(backend.value_and_grad(self._loss), [])
        of_between = backend.compile(backend.value_and_grad(self._loss_beyond), [])
        of_image = backend.compile(backend.value_and_grad(self._own_loss), [])
        joined = backend.compile(picture, [])

        def through(values, pull):  # a pyramid, of which the picture is a linear function
            return backend.value_and_grad(lambda x: (ops.sum(picture(x) * pull), {}))(values)

        through = backend.compile(through, [])

        def evaluate(values):
            # Ranks whose processors round differently would drift apart: all look at the first one's picture.
            image = ops.convert_to_numpy(joined(values))
            image = distribute.from_first(image) if distribute.joined() else image
            totals, between = self._totals(image)
            loss, found, pull = 0.0, [], totals
            if self._parts:
                (loss, parts), pull = of_sums(totals)
                found.append(parts)
            if self._beyond:
                (more, parts), pull_between = of_between(ops.convert_to_tensor(between))
                loss, between = loss + more, ops.convert_to_numpy(pull_between)
                found.append(parts)
            parts = self._ordered(found)
            grad = np.zeros(image.shape, "float32")
            for number, tile in self._tiles.mine:
                onward = ops.convert_to_tensor(self._tiles.between(tile, between)) if self._beyond else None
                _, found = self._program(number, "pulled")(*self._arguments(number, image), pull, onward)
                grad[tile.around.slices] += ops.convert_to_numpy(found)
            grad = distribute.added(grad)
            if self._local.looks_at_pixels:
                (own, more), found = of_image(ops.convert_to_tensor(image))
                loss, parts = loss + own, {**parts, **more}
                grad += ops.convert_to_numpy(found)
            grad = ops.convert_to_tensor(grad)
            if self.settings.pyramid:
                _, grad = through(values, grad)
            return (loss, parts), grad

        return evaluate

    def _of_content(self):
        content = self.settings.content
        for tap, weight in content.layers.items() if content.weight else ():

            def of_tile(features, weights, goal):
                away = ops.cast(features, "float32") - content.target_factor * ops.cast(goal, "float32")
                return (ops.sum(ops.square(away)),)

            def loss(totals, tap=tap, weight=weight):
                size, square = self._content.elements[tap], self._content.squares[tap]
                return content.weight * weight * CONTENT_SUMMED[content.loss](totals[0], size, square)

            yield _Part("content", tap, None, of_tile, loss)

    def _of_style(self):
        pixels = self._tiles.shape[0] * self._tiles.shape[1]
        for name, term in self.settings.style_terms.items():
            reached = self._style_target[name] if term.weight else ()
            for number, (share, aim) in enumerate(reached):
                region = None if self._regions is None else self._regions[number]
                if share:
                    factor = term.weight * (share * region.share if region else share)
                    for tap, weight in term.layers.items():
                        place = number if region else None
                        yield _style_part(name, term, tap, place, aim[tap], factor * weight, self._tiles, pixels)

    def _own_loss(self, image):
        parts = self._local.of_pixels(image)
        return sum(parts.values()), parts

    def _ordered(self, parts):
        """The sums of dicts of parts, in the order of the columns: JAX returns dicts sorted."""
        names = [name for name in self._columns if any(name in each for each in parts)]
        return {name: sum(each[name] for each in parts if name in each) for name in names}

    def _totals(self, image):
        """Everything that the losses of the tiled layers are functions of, as one vector, and what goes to the others:
        an array, or None."""
        total, between = 0.0, None
        for number, tile in self._tiles.mine:
            added, seen = self._program(number, "sums")(*self._arguments(number, image))
            total, between = total + added, self._tiles.with_core(between, seen, tile) if self._beyond else None
        if distribute.joined():
            total = ops.convert_to_tensor(distribute.added(ops.convert_to_numpy(total)))
            between = distribute.added(between) if self._beyond else None
        return total, between

    def _loss_beyond(self, between):
        """(loss, parts) of the layers that are not tiled."""
        seen = self._tiles.far(between)
        return _loss_of(self._beyond, _added(self._beyond, seen, self._weights_beyond, self._goals_beyond))

    def _arguments(self, number, image):
        """What differs from tile to tile: the pixels, the regions' weights and the content's features."""
        pixels = np.ascontiguousarray(image[self._tiles.tiles[number].around.slices])
        tensors = [pixels, self._weights[number], self._content.goals.get(number, {})]
        return keras.tree.map_structure(ops.convert_to_tensor, tensors)

    def _weights_at(self, parts, tile=None):
        places = dict.fromkeys((part.region, part.tap) for part in parts if part.region is not None)
        return {f"{place} {tap}": self._tiles.weights(tap, self._regions[place], tile) for place, tap in places}

    def _program(self, number, kind):
        """`sums` of a tile, or how the sums `pulled` move its pixels, compiled once for all tiles of one geometry."""
        tile = self._tiles.tiles[number]
        key = (kind, self._tiles.geometry(tile, self._taps))
        if key not in self._programs:

            def sums(pixels, weights, goals):
                return self._sums(tile, pixels, weights, goals)

            def pulled(pixels, weights, goals, pull, onward):
                def reached(x):
                    added, seen = sums(x, weights, goals)
                    total = ops.sum(added * pull)
                    if onward is not None:
                        given = ops.cast(self._tiles.core(seen, tile, BETWEEN), "float32")
                        total = total + ops.sum(given * ops.cast(onward, "float32"))
                    return total, {}

                return backend.value_and_grad(reached)(pixels)

            self._programs[key] = backend.compile({"sums": sums, "pulled": pulled}[kind], [])
        return self._programs[key]

    def _sums(self, tile, pixels, weights, goals):
        """What a tile adds to the totals, as one vector, and {BETWEEN: its features} where there are layers beyond."""
        found = features_of(self._tiles.extractor, units.from_space(pixels, self.settings.space))
        seen = {tap: self._tiles.core(found, tile, tap) for tap in self._taps if tap != BETWEEN}
        added = _added(self._parts, seen, weights, goals)
        self._shapes = [[tuple(tensor.shape) for tensor in tensors] for tensors in added]
        flat = [ops.reshape(tensor, (-1,)) for tensors in added for tensor in tensors]
        between = {BETWEEN: found[BETWEEN]} if self._beyond else {}
        return (ops.concatenate(flat) if flat else ops.zeros((1,))), between

    def _loss(self, totals):
        """(loss, parts) of the sums of all tiles."""
        sums, begin = [], 0
        for shapes in self._shapes:
            own = []
            for shape in shapes:
                end = begin + int(np.prod(shape))
                own.append(ops.reshape(totals[begin:end], shape))
                begin = end
            sums.append(own)
        return _loss_of(self._parts, sums)


def _added(parts, seen, weights, goals):
    """For each `_Part` what the features seen add to its sums."""
    return [
        part.of_tile(seen[part.tap], weights.get(f"{part.region} {part.tap}"), goals.get(part.tap)) for part in parts
    ]


def _loss_of(parts, sums):
    """(loss, {column: its share}) of the sums of each `_Part`."""
    found = {}
    for part, own in zip(parts, sums):
        found[part.column] = found.get(part.column, 0.0) + part.loss(own)
    return sum(found.values()), found


def _style_part(column, term, tap, region, aim, factor, tiles, pixels):
    summed = SUMMED[term.loss]
    about = None if summed.centre is None else summed.centre(aim)

    def of_tile(features, weights, goal):
        return summed.of_tile(features, weights, term, about)

    def loss(totals):
        return factor * summed.loss(totals, aim, term, tiles.positions(tap), pixels, about)

    return _Part(column, tap, region, of_tile, loss)


def statistics(extractor, term, picture, region, tiles):
    """What `kstyle.style.losses.terms.Kind.keep` gives of a style picture, {tap: statistics}, tile by tile.

    Args:
        term: `kstyle.style.sections.Term`, of a loss that `check` allows.
        picture: (H, W, 3) float32 NumPy in [0, 1].
        region: the `Region` of it that counts, or None.
        tiles: `Tiles` of it.
    """
    summed, about = SUMMED[term.loss], {}

    def added(of_tile):
        totals = {}
        for tile in tiles.tiles:
            found = features_of(extractor, ops.convert_to_tensor(np.ascontiguousarray(picture[tile.around.slices])))
            for tap in term.layers:
                weights = None if region is None else tiles.weights(tap, region, tile)
                own = of_tile(tap, tiles.core(found, tile, tap), weights)
                totals[tap] = [a + b for a, b in zip(totals[tap], own)] if tap in totals else list(own)
        return totals

    # Two passes where squares are taken about the mean: it has to be known first.
    if summed.centre is not None:
        means = added(lambda tap, features, weights: (sum_of_weights(features, weights),))
        about = {tap: total / tiles.positions(tap) for tap, (total,) in means.items()}
    totals = added(lambda tap, features, weights: summed.of_tile(features, weights, term, about.get(tap)))
    return {tap: summed.kept(own, term, tiles.positions(tap), about.get(tap)) for tap, own in totals.items()}
