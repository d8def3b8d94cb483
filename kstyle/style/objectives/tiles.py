"""What a picture that is looked at in tiles is divided into: its tiles, for all layers of a network or for the first of
them, and the content's features in them."""

import keras
import numpy as np

from kstyle import backend
from kstyle.backend import distribute
from kstyle.models.features import BETWEEN
from kstyle.style.objectives import grid
from kstyle.style.objectives.objective import features_of

ops = keras.ops


class Tiles:
    """The tiles of one picture for one extractor.

    Args:
        extractor: `kstyle.models.features.Extractor`.
        shape: (height, width) of the picture, its margin included.
        side: most pixels a side of a core.

    Attributes:
        extractor: what looks at tiles.
        far: the `Extractor` of the layers that are not tiled; None: all are.
        grid_of_all: the `Grid` of all layers.
    """

    far = None

    def __init__(self, extractor, shape, side):
        self.extractor, self.shape, self.grid = extractor, tuple(shape), grid.of(extractor)
        self.grid_of_all = self.grid
        self.tiles = self.grid.tiles(self.shape, side)

    @property
    def mine(self):
        """[(number, tile)] of those that this process looks at: all of them, or of several ranks its share."""
        numbered = list(enumerate(self.tiles))
        return numbered[distribute.share(len(numbered))] if distribute.joined() else numbered

    def core(self, seen, tile, tap):
        """Of a tap's features of what the tile was shown, those of its core."""
        return seen[tap][:, *self.own(tile, tap)]

    def own(self, tile, tap):
        """Where in the tap's features of what the tile was shown those of its core are: slices of rows and columns."""
        return self.grid.inner(tile, tap, self.shape)[0]

    def place(self, tile, tap):
        """Where in the tap's features of the whole picture those of the tile's core are, likewise."""
        return self.grid.inner(tile, tap, self.shape)[1]

    def positions(self, tap):
        """How many positions the tap has in the whole picture."""
        height, width = self.grid_of_all.size(self.shape, tap)
        return height * width

    def weights(self, tap, region, tile=None):
        """The region's weights at the positions of a tap: of the tile's core, or of the whole picture, (1, h, w, 1)."""
        weights = region.at(*self.grid_of_all.size(self.shape, tap))
        return np.ascontiguousarray(weights[() if tile is None else self.place(tile, tap)][None, ..., None])

    def geometry(self, tile, taps):
        """What tells apart the programs that a compiler makes of tiles: their shapes, and where their cores are."""
        size = (tile.around.bottom - tile.around.top, tile.around.right - tile.around.left)
        return (size, *((s.start, s.stop) for tap in taps for s in self.own(tile, tap)))


class Halves(Tiles):
    """`Tiles` for the first half of a network (`Extractor.halves`): to the other half, which begins with a sixteenth of
    the positions, the picture is whole."""

    def __init__(self, extractor, shape, side):
        near, self.far = extractor.halves()
        super().__init__(near, shape, side)
        self.grid_of_all = grid.of(extractor)

    def with_core(self, between, seen, tile):
        """`between`, an array of the whole picture or None as yet, with what a tile gives to the layers beyond."""
        core = ops.convert_to_numpy(self.core(seen, tile, BETWEEN))
        if between is None:
            between = np.zeros((1, *self.grid.size(self.shape, BETWEEN), core.shape[-1]), core.dtype)
        between[:, *self.place(tile, BETWEEN)] = core
        return between

    def between(self, tile, array):
        """The core's part of an array of what lies between the halves."""
        return np.ascontiguousarray(array[:, *self.place(tile, BETWEEN)])


class Content:
    """The content's features, tile by tile as NumPy arrays, in the network's precision.

    Attributes:
        goals: {number of the tile: {tap: (1, h, w, C)}}, of its core.
        beyond: {tap: (1, H, W, C)} of the layers that are not tiled.
        elements: {tap: numbers in its features of the whole picture}.
        squares: {tap: mean square of the target}.
    """

    def __init__(self, settings, content, tiles):
        layers, self._factor = settings.content.layers, settings.content.target_factor
        look = backend.compile(lambda image: dict(features_of(tiles.extractor, image).layers), [])
        near = [tap for tap in layers if tiles.far is None or tap not in tiles.far.taps]
        self.goals, self.beyond = {}, {}
        counts = {tap: np.zeros(2) for tap in layers}  # numbers, and the sum of their squares
        between = None
        for number, tile in tiles.mine if settings.content.weight else ():
            seen = look(ops.convert_to_tensor(content[tile.around.slices]))
            self.goals[number] = {tap: self._taken(counts[tap], tiles.core(seen, tile, tap)) for tap in near}
            between = tiles.with_core(between, seen, tile) if len(near) < len(layers) else None
        for tap in near:
            counts[tap] = distribute.added(counts[tap])
        if between is not None:
            seen = tiles.far(ops.convert_to_tensor(distribute.added(between)))
            self.beyond = {tap: self._taken(counts[tap], features) for tap, features in seen.items() if tap in layers}
        self.elements = {tap: int(count) for tap, (count, _) in counts.items()}
        self.squares = {tap: square / max(count, 1) for tap, (count, square) in counts.items()}

    def _taken(self, counts, features):
        goal = np.ascontiguousarray(ops.convert_to_numpy(features))
        counts += goal.size, self._factor**2 * float(np.sum(np.square(goal, dtype="float32"), dtype="float64"))
        return goal
