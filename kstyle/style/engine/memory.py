"""How much memory a painting takes, before it takes it, and how its passes are divided so that it fits.

What a step takes is close to proportional to what the network's layers give for a pixel, and to the arrays of the
picture's own size. The factors were measured: `benchmarks/memory.py` holds them against new measurements.
"""

import dataclasses
import itertools
import math
import re
from dataclasses import dataclass

import psutil

from kstyle import backend
from kstyle.backend import distribute
from kstyle.errors import UsageError
from kstyle.io.files import amount
from kstyle.nn.layers import Pool2D
from kstyle.pictures import images
from kstyle.style.objectives import grid, tiling
from kstyle.style.passes import sizes

# Of memory that is free this much is planned with, where no limit is given: other programs want some too.
MARGIN = 0.85
# A step holds at its peak what the layers of the network give, and so many arrays as large as the largest of them, by
# the bytes of a number: gradients, and what the kernels themselves need. Of a tile's features only the core counts in
# the losses, and the gradients of a part are as large as all.
WIDEST, WIDEST_OF_TILE = {4: 2, 2: 6}, {4: 8, 2: 6}
# Arrays of the picture's size beside the optimiser's: picture, best, gradient, and what a step makes for a moment.
ARRAYS = 9
# Arrays of it that any optimiser has, L-BFGS beside its pairs.
OF_STEP = 3
# Bytes that the allocator keeps for the next step.
KEPT = 150e6
# Numbers that layers give for a pixel, the largest of them, and the last, of a network that nothing is known of.
UNKNOWN = 500.0, 64.0, 1.0
# How much longer a step takes for a pixel that is seen by tiles, all of the network's layers or its first half: each is
# looked at twice, first without a gradient.
TWICE, HALVED = 1.5, 1.3
# A prediction may be this much too low, and what was planned still fits.
SAFE = 1.08
# Sides of tiles that are tried, from the fewest to the smallest.
SIDES = (2048, 1536, 1024, 768, 512, 384, 256, 192, 128)
# And of the first half of a network, which sees so little around a tile that small ones cost no more.
OF_HALVES = (1024, 512, 256)
# Tiles smaller than this are not shared among ranks: what lies around them would be most of the work.
SHARED = 256
# Shorter histories of L-BFGS are tried where tiles alone do not help.
HISTORIES = (5, 3, 2)


@dataclass(frozen=True)
class Network:
    """What a pass's memory depends on of an extractor.

    Attributes:
        given, widest, last: numbers that its layers give for each pixel of the picture: all of them, the largest, and
            the last.
        taps: {tap: numbers that it gives for each pixel}.
        size: bytes of a number.
        reach: of its `Grid`; None: it cannot be divided.
        halves: the `Network` of each of its halves; None: it has none.
    """

    given: float
    widest: float
    last: float
    taps: dict
    size: int
    reach: int | None
    halves: tuple | None = None

    def held(self, tile=False):
        """Bytes that a step holds for a pixel that the network looks at."""
        return self.size * (self.given + (WIDEST_OF_TILE if tile else WIDEST)[self.size] * self.widest)


def network_of(extractor):
    """The `Network` of a `kstyle.models.features.Extractor`."""
    size = 2 if extractor.precision == "bfloat16" else 4
    try:
        divided = grid.of(extractor)
    except UsageError:
        return Network(*UNKNOWN, {}, size, None)
    each, stride = [3.0], 1
    halves = extractor.halves()
    first = len(halves[0].model.layers) if halves else 0
    for layer in extractor.model.layers:
        stride *= layer.strides if isinstance(layer, Pool2D) else 1
        each.append(layer.output.shape[-1] / stride**2)
    outputs = extractor.model.output
    taps = {tap: outputs[layer].shape[-1] / divided.strides[tap] ** 2 for tap, layer in extractor.taps.items()}
    both = None
    if halves:
        reach = grid.of(halves[0]).reach
        parts = each[: first + 1], each[first + 1 :]
        both = tuple(Network(sum(part), max(part), part[-1], taps, size, reach) for part in parts)
    return Network(sum(each), max(each), each[-1], taps, size, divided.reach, both)


@dataclass(frozen=True)
class Plan:
    """Passes that fit.

    Attributes:
        passes: list of `kstyle.style.passes.sizes.Pass`.
        peaks: for each the bytes that the process is predicted to take at most.
        looks: for each the pixels that the network is shown in all of its steps, those shown twice counted so.
        limit: bytes.
        seconds: that it takes about; None: not known.
    """

    passes: list
    peaks: list
    looks: list
    limit: int
    seconds: float | None = None

    def timed(self, each: float) -> "Plan":
        """The same with its time, of `each` seconds a step for a pixel."""
        return dataclasses.replace(self, seconds=each * sum(self.looks))


def parsed(text):
    """`"6GB"`, `"800 MB"`, `"6GiB"` or a number of bytes -> bytes. UsageError otherwise."""
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(?:([kMGT])(i?)B?|B)?\s*", str(text), re.IGNORECASE)
    if not found or not float(found[1]):
        raise UsageError(f"max_memory: expected an amount such as 6GB or 800MB; got {text!r}.")
    base = 1024 if found[3] else 1000
    return int(float(found[1]) * base ** (" kmgt".index((found[2] or " ").lower())))


def in_use():
    """Bytes that the process holds now, of the device's memory where it has its own."""
    return 0 if backend.accelerated() else psutil.Process().memory_info().rss


def available():
    """Bytes that the process may hold in all, as things are."""
    if backend.accelerated() and (free := backend.memory()["free"]):
        return int(MARGIN * free)
    return in_use() + int(MARGIN * psutil.virtual_memory().available / distribute.local_world())


def fitted(passes, extractor, limit=None):
    """The `Plan` of passes, whole where that fits, by tiles where it does not, at last with a shorter history.

    Of several ranks the first one's, in tiles that they share; what is too small to be shared is whole on each.

    Args:
        passes: list of `Pass`.
        extractor: `kstyle.models.features.Extractor`.
        limit: bytes that the process may hold; None: what is free, less a margin.

    Raises:
        UsageError: one does not fit whatever is done; the message says the nearest size that does, or names the term
            that needs the whole picture at once.
    """
    limit, base, network = available() if limit is None else limit, in_use(), network_of(extractor)
    taken = list(itertools.accumulate(now.steps for now in passes))
    planned, before = [], None
    for now, so_far in zip(passes, taken):
        found = _fitted(now, network, limit, base, so_far, before)
        planned.append(found)
        before = found and found[0]
    if None in planned:
        number = planned.index(None)
        now, so_far, before = passes[number], taken[number], planned[number - 1][0] if number else None
        whole = _largest(now, network, limit, base, so_far, before, tiled=False)
        tiling.check(now.settings, whole)
        fits = _largest(now, network, limit, base, so_far, before)
        needed = amount(int(SAFE * min(peak(each, network, base, so_far, before) for each in _ways(now, network))))
        near = f"--size {fits} fits" if fits else "no size fits"
        shown = f"{now.shape[1]}×{now.shape[0]}"
        raise UsageError(f"{shown} takes {needed} at least, more than the {amount(limit)} that there are: {near}.")
    looks = [_looks(way, network) for way, _ in planned]
    ways = [way for way, _ in planned]
    if distribute.joined():
        hows = distribute.told_by_first([way.division for way in ways])
        ways = [way.divided(*how) for way, how in zip(ways, hows)]
    return Plan(ways, [peak for _, peak in planned], looks, limit)


def smaller(now, extractor):
    """The `Pass` in smaller tiles than it has, where memory was full against the prediction; None: there are none."""
    largest, network = now.tile or max(now.shape), network_of(extractor)
    tiled = now.tile is not None and not now.halved  # all layers are: halves would take more
    ways = (way for way in _ways(now, network) if way.tile and not (tiled and way.halved))
    return next((way for way in ways if way.tile < largest), None)


def told(now, peak):
    """A pass in words."""
    height, width = now.shape
    tiles = "whole" if now.tile is None else f"in tiles of {now.tile} px"
    if now.halved:
        tiles = f"the network's first half {tiles}"
    history = now.settings.optimizer.arguments.get("history")
    kept = f", {history} pairs of L-BFGS" if history is not None and now.settings.optimizer.name == "lbfgs" else ""
    return f"{width}×{height}: {now.steps} steps, {tiles}{kept}, about {amount(peak)}"


def _fitted(now, network, limit, base, taken, before):
    for way in _ways(now, network):
        needed = peak(way, network, base, taken, before)
        if needed * SAFE <= limit:
            return way, needed
    return None


def _ways(now, network):
    """The ways to paint a pass, from the fastest to that which takes least memory."""
    sides = [side for side in SIDES if side < max(now.shape) + 2 * now.margin]
    shared = _shared(now, network, sides) if distribute.joined() else []
    yield from shared or [now.divided(None)]
    if network.reach is None or tiling.undivided(now.settings):
        return
    if network.halves is not None and not shared:
        yield from (now.divided(side, halved=True) for side in sides if side in OF_HALVES)
    yield from (now.divided(side) for side in sides)
    if now.settings.optimizer.name == "lbfgs":
        for history in HISTORIES:
            if history < now.settings.optimizer.arguments.get("history", 100):
                yield from (now.divided(tile, history) for tile in (512, 256, 128))


def _shared(now, network, sides):
    """The ways to paint a pass in tiles of which each rank has some, from the fastest on; none: it is too small."""
    if network.reach is None or tiling.undivided(now.settings):
        raise UsageError(
            f"{distribute.world()} ranks share a picture's tiles, and this preset or network needs it whole: start one."
        )
    shape, found = [side + 2 * now.margin for side in now.shape], []
    for way in (now.divided(side) for side in sides if side >= SHARED):
        count = math.prod(-(-side // way.tile) for side in shape)
        if count >= distribute.world():
            most = -(-count // distribute.world())  # that one rank has
            found.append((most * _shown(way, network, shape), way))
    return [way for _, way in sorted(found, key=lambda pair: pair[0])]


def peak(now, network, base, taken, before=None):
    """Bytes that the process holds at the most in a pass.

    Args:
        now: the `Pass`.
        network: the extractor's `Network`.
        base: bytes that the process holds without a painting.
        taken: steps to the end of the pass, those of earlier passes too.
        before: the pass before it, if there is one.
    """
    return max(_in_steps(now, network, base, taken), _entering(before, now, network, base, taken))


def _in_steps(now, network, base, taken):
    shape = tuple(side + 2 * now.margin for side in now.shape)
    pixels = shape[0] * shape[1]
    own = 12 * pixels * (ARRAYS + _of_optimizer(now.settings, taken) + 2 * bool(now.settings.average))
    base = base + KEPT
    if now.tile is None:
        return int(base + own + network.held() * pixels)
    goals = _goals(now, network, pixels)
    if now.halved:
        first, other = network.halves
        between = 8 * pixels * first.last  # what lies between the halves, and its gradient, in float32
        return int(
            base + own + goals + between + max(first.held(True) * _shown(now, first, shape), other.held() * pixels)
        )
    return int(base + own + goals + network.held(True) * _shown(now, network, shape))


def _entering(before, now, network, base, taken):
    """Bytes that the process holds as a pass begins and takes over what the optimiser of the one before has kept: for a
    moment both are there."""
    if before is None or not now.settings.scales.carry or now.settings.pyramid:
        return 0
    arrays = 0
    kept = _of_optimizer(now.settings, taken - now.steps)
    # Of the one before no more is left than the new one takes, without what a step alone needs. The pictures that the
    # pass begins with are there as well, and a pair is enlarged by itself.
    for each, others in ((before, 2 - OF_STEP), (now, 9)):
        pixels = (each.shape[0] + 2 * each.margin) * (each.shape[1] + 2 * each.margin)
        arrays += 12 * pixels * (others + kept + bool(each.settings.average))
    return int(base + KEPT + arrays + _goals(now, network, pixels))


def _goals(now, network, pixels):
    """Bytes of the content's features."""
    return network.size * pixels * sum(network.taps.get(tap, 0) for tap in now.settings.content.layers)


def _shown(now, network, shape):
    """Pixels of the largest tile, what lies around it included."""
    around = now.tile + 2 * network.reach
    return min(shape[0], around) * min(shape[1], around)


def _looks(now, network):
    shape, share = [side + 2 * now.margin for side in now.shape], 1.0
    if now.halved:
        share = HALVED
    elif now.tile is not None:
        # Each cut between two tiles shows what lies on both sides of it twice.
        shape = [side + 2 * network.reach * (-(-side // now.tile) - 1) for side in shape]
        share = TWICE
    return share * now.steps * shape[0] * shape[1]


def _of_optimizer(settings, taken):
    """Arrays of the picture's size that the optimiser keeps after so many steps."""
    if settings.optimizer.name != "lbfgs":
        return OF_STEP
    return 2 * min(settings.optimizer.arguments.get("history", 100), taken) + OF_STEP


def _largest(now, network, limit, base, taken, before=None, tiled=True):
    """The largest long side, in steps of 64 pixels, at which a pass fits, the one before it as much smaller; None:
    there is none."""
    longest = max(now.shape)
    for side in range(longest // 64 * 64, 63, -64):
        there = dataclasses.replace(now, shape=images.fit(now.shape, side))
        if min(there.shape) < sizes.SMALLEST_SIDE:
            return None
        if before is not None:
            coarse = dataclasses.replace(before, shape=images.fit(before.shape, max(before.shape) * side // longest))
        ways = _ways(there, network) if tiled else [there.divided(None)]
        if any(peak(way, network, base, taken, before and coarse) * SAFE <= limit for way in ways):
            return side
    return None
