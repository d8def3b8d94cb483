"""Style terms by name: what is kept of a style picture, how several styles are blended, and the distance from it.

| loss | compares | several styles |
| --- | --- | --- |
| the Gram ones | Gram matrices of each layer | mean of the matrices |
| `wasserstein` | mean and covariance of each layer | mean of the moments |
| `batch_norm` | mean and deviation of each channel | mean of both |
| `histogram` | sorted activations of each channel | mean of the quantiles |
| `mrf`, `nearest` | each place of each layer with its nearest in the style | sum of losses |
| `hypercolumns` | each place, through all layers, with the style's that is nearest to a guide's | sum of losses |
| `moments` | mean and covariance of columns through all layers | mean of the moments |
| `remd`, `palette` | sampled columns, sampled colours | sum of losses |

All means and sums are weighted. Everything is float32 and differentiable, with finite gradients at the target itself
and where nothing varies.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import keras

from kstyle import backend
from kstyle.errors import UsageError
from kstyle.style.losses import patches, transport
from kstyle.style.losses.gram import factor_of, scaled_gram
from kstyle.style.losses.moments import at_ranks, batch_norm_loss, histogram_loss, mean_and_deviation, quantiles, rows
from kstyle.style.losses.positions import Features, Look
from kstyle.style.losses.scalings import GRAM_LOSSES
from kstyle.style.losses.summed import CONTENT_SUMMED

ops = keras.ops

# Losses that look at some positions only.
SAMPLING = ("mrf", "nearest", "remd", "moments", "palette")
# Hypercolumns are taken at every fourth pixel in each direction, as in the tool nnst.
COARSER = 4
# Of a style picture five times as many positions are sampled as of the painting, as in STROTSS.
STYLE_SAMPLES = 5


def _weighed(features, look):
    return features, None if look.region is None else look.region.weights(features)


def _rows(features, look):
    x, inside = rows(features), look.inside(*features.shape[1:3])
    return x if inside is None else ops.take(x, inside, axis=0)


def _patches(features, look):
    return patches.patches(features, look.of_layer(*features.shape[1:3], rim=patches.PATCH // 2))


def _activations(features, look):
    found, where = rows(features), look.of_layer(*features.shape[1:3])
    found = found if where is None else ops.take(found, where, axis=0)
    return found if look.style else patches.centred(found)  # a style's are centred once all its views are joined


def _hypercolumns(features, look):
    height, width = (max(1, side // COARSER) for side in features.shape)
    every = patches.hypercolumns(features, look.term.layers, height, width)
    inside = look.inside(height, width)
    return every if inside is None else ops.take(every, inside, axis=0)


def _columns(features, look):
    count = (look.term.samples or 1024) * (STYLE_SAMPLES if look.style else 1)
    return look.positions.columns(features, look.term.layers, count, look.redraw, look.region)


def _same(seen):
    return seen


@dataclass(frozen=True)
class Kind:
    """A style loss.

    Attributes:
        look: (features, Look) -> what is compared.
        keep: that of a style -> its statistics, a tensor or a tuple of them.
        distance: (that of the picture, target, term) -> scalar.
        blended: statistics may be averaged over styles; if not, losses are.
        ready: the statistics' mean, or those of one style -> target.
        joint: all layers at once, and not each by itself.
        factor: (that of the picture, target, pixels) -> what the distance is multiplied by, a number.
        match: (that of a guide, target) -> the target proper, for a term that looks for its matches once (`matched`).
    """

    look: Callable
    keep: Callable
    distance: Callable
    blended: bool = True
    ready: Callable = _same
    joint: bool = False
    factor: Callable = lambda seen, target, pixels: 1.0
    match: Callable | None = None


def _simply(distance):
    return lambda seen, target, term: distance(seen, target)


def _of_weighed(distance):
    return lambda seen, target, term: distance(seen[0], target, seen[1])


def _gram(scaling):
    def look(features, look):
        features, weights = _weighed(features, look)
        if look.style:
            return look.term.target_factor * scaled_gram(features, scaling, look.term.shift, weights)
        return features, weights

    def ready(matrix):
        # Looked at once, so that no step sums it up again.
        square = ops.convert_to_numpy(ops.sum(ops.square(matrix))) if scaling == "relative" else 0
        return matrix, float(square)

    def distance(seen, target, term):
        return backend.squared_error(scaled_gram(seen[0], scaling, term.shift, seen[1]), target[0])

    def factor(seen, target, pixels):
        _, height, width, channels = seen[0].shape
        return factor_of(scaling, channels, height * width, pixels, target[1])

    return Kind(look, _same, distance, ready=ready, factor=factor)


KINDS = {
    **{name: _gram(name) for name in GRAM_LOSSES},
    "wasserstein": Kind(
        _weighed,
        lambda seen: transport.moments(*seen),
        _of_weighed(transport.wasserstein),
        ready=lambda moments: transport.gaussian(*moments),
    ),
    "batch_norm": Kind(_weighed, lambda seen: mean_and_deviation(*seen), _of_weighed(batch_norm_loss)),
    "histogram": Kind(_rows, quantiles, _simply(histogram_loss)),
    "mrf": Kind(_patches, _same, _simply(patches.mrf_loss), blended=False),
    "nearest": Kind(_activations, _same, _simply(patches.nearest_loss), blended=False, ready=patches.centred),
    "hypercolumns": Kind(
        _hypercolumns, _same, _simply(patches.hypercolumn_loss), blended=False, joint=True, match=patches.replaced
    ),
    "remd": Kind(_columns, _same, _simply(transport.remd), blended=False, joint=True),
    "moments": Kind(_columns, transport.column_moments, _simply(transport.moment_loss), joint=True),
    "palette": Kind(_columns, _same, _simply(transport.palette), blended=False, joint=True),
}


def kind_of(term):
    """The `Kind` of a term's loss, kstyle's or a user's own."""
    if term.own_loss is None:
        return KINDS[term.loss]
    distance, statistics = term.own_loss

    def look(features, look):
        if look.region is not None:
            raise UsageError(f"The style loss '{term.loss}' takes no masks: paint without, or with a loss of kstyle's.")
        return ops.cast(features, "float32")

    return Kind(look, statistics or _same, _simply(distance), blended=False)


def target(term, styles, blend, positions, regions=None, apart=False, views=1):
    """What a term is to reach.

    Args:
        term: `kstyle.style.sections.Term`.
        styles: for each view of each style its `Features`.
        blend: a weight for each, that add up to 1.
        positions: `Positions`, its step None.
        regions: for each of `styles` the `Region` of it that counts, or None.
        apart: keep every style by itself, for regions of the picture.
        views: so many of `styles`, one after another, are views of the same picture, which count as one.

    Returns:
        [(share, {layer: target})], one where styles are blended; of a joint term [(share, target)].
    """
    kind = kind_of(term)
    if views > 1 and term.own_loss is not None:
        raise UsageError(f"The style loss '{term.loss}' is not for turned styles: give style.turned: false.")
    looks = [Look(term, positions, True, region) for region in regions or [None] * len(styles)]
    kept = [
        _by_layer(kind, term, lambda f, look=look: kind.keep(kind.look(f, look)), features)
        for features, look in zip(styles, looks)
    ]
    return target_of(term, kept, blend, apart, views)


def target_of(term, kept, blend, apart=False, views=1):
    """`target` of what is kept of each view of each style: {layer: statistics}, or of a joint term the statistics."""
    kind = kind_of(term)
    kept = [_as_one(kept[i : i + views], kind) for i in range(0, len(kept), views)]
    if kind.blended and not apart:
        kept, blend = [_mean(kept, blend, kind.joint)], [1.0]
    ready = kind.ready if kind.joint else lambda layers: {tap: kind.ready(one) for tap, one in layers.items()}
    return [(share, _frozen(ready(one))) for share, one in zip(blend, kept) if share or apart]


def matched(term, guide, reached, positions, regions=None):
    """The targets of a term that looks for its matches once; of others `reached` itself.

    Args:
        term, reached, positions, regions: as for `distance`.
        guide: `Features` of the picture whose places are each to get one of the style.
    """
    kind = kind_of(term)
    if kind.match is None:
        return reached
    looks = [Look(term, positions, False, region) for region in regions or [None] * len(reached)]
    return [(share, _frozen(kind.match(kind.look(guide, look), aim))) for (share, aim), look in zip(reached, looks)]


def distances(term, features, reached, positions, pixels, regions=None):
    """How far a picture is from a target: [(factor, float32 scalar), …], whose products add up to the loss. Only the
    scalars are computed: all that they are multiplied by is numbers, and put together before.

    Args:
        term, positions: as for `target`.
        features: `Features` of the picture.
        reached: from `target`.
        pixels: height × width.
        regions: for each of `reached` the `Region` that it is for, or None for all of the picture. A region counts as
            its share of the picture: at any place style and content are then balanced as without regions.
    """
    kind = kind_of(term)

    def see(region):
        look = Look(term, positions, False, region)
        return _by_layer(kind, term, lambda f: kind.look(f, look), features)

    everywhere = see(None) if regions is None else None
    found = []
    for (share, aim), region in zip(reached, regions or [None] * len(reached)):
        if not share:
            continue
        seen = everywhere if regions is None else see(region)
        share = share * region.share if region else share
        if kind.joint:
            each = [(share, seen, aim)]
        else:
            each = [(share * weight, seen[tap], aim[tap]) for tap, weight in term.layers.items()]
        found += [
            (weight * kind.factor(one, goal, pixels), kind.distance(one, goal, term)) for weight, one, goal in each
        ]
    return found


def content_distances(content, features, target, squares, positions):
    """As `distances`, of the content; squares: {tap: the target's mean square}, which one loss looks at."""
    if content.loss == "self_similarity":
        target = Features(target, features.shape)
        pair = [positions.columns(f, content.layers, content.samples) for f in (features, target)]
        return [(1.0, transport.self_similarity(*pair))]
    found = []
    for tap, weight in content.layers.items():
        pair = ops.cast(features[tap], "float32"), target[tap]
        if content.own_loss is not None:
            found.append((weight, content.own_loss(*pair)))
        else:
            factor = CONTENT_SUMMED[content.loss](1.0, math.prod(target[tap].shape), squares.get(tap))
            found.append((weight * factor, backend.squared_error(*pair)))
    return found


def _by_layer(kind, term, function, features):
    return function(features) if kind.joint else {tap: function(features[tap]) for tap in term.layers}


def _as_one(kept, kind):
    """What is kept of several views as if they were one picture."""
    if len(kept) == 1:
        return kept[0]
    if kind.blended:
        return _mean(kept, [1 / len(kept)] * len(kept), kind.joint)
    if kind.joint:
        return ops.concatenate(kept, axis=0)
    return {tap: ops.concatenate([one[tap] for one in kept], axis=0) for tap in kept[0]}


def _mean(kept, blend, joint):
    if not joint:
        return {tap: _mean([one[tap] for one in kept], blend, True) for tap in kept[0]}
    if isinstance(kept[0], tuple):
        return tuple(_mean(list(parts), blend, True) for parts in zip(*kept))
    # Sorted activations are as many as the style picture has positions, so they are brought to one length first; all
    # else that is averaged has one shape, which this does not change.
    longest = max(one.shape[0] for one in kept)
    return sum(float(share) * at_ranks(one, longest) for share, one in zip(blend, kept))


def _frozen(value):
    if isinstance(value, dict):
        return {key: _frozen(one) for key, one in value.items()}
    if isinstance(value, tuple):
        return tuple(map(_frozen, value))
    return value if isinstance(value, float) else ops.stop_gradient(value)
