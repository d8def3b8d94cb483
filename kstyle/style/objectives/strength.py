"""How much style: one number from 0 to 1 that means the same whatever the picture, its size and the losses."""

import logging

import numpy as np

log = logging.getLogger("kstyle")

# How many times as much as content style counts at strength 0.5, both measured as `balanced` does; the preset `kstyle`
# as it comes is near that. It is far above 1 because the losses fall unequally: by the end of a painting a style loss
# is about a hundredth of what it was at the content, while the content loss has come to about a tenth of its largest.
EVEN = 48.0
# In a large picture strokes are small beside the whole: brought to the size of a smaller painting of the same strength,
# it shows more of the content. So beyond a long side of FINE pixels style counts (side / FINE) ** POWER times as much,
# with which both look alike (measured, docs/benchmarks.md).
FINE, POWER = 512, 0.6


def balanced(objective, scene, side, regions=None):
    """The objective with its style weights multiplied so that content and style are in the balance asked for.

    Both losses are measured before the first step: style's where it is largest, at the content itself, S; content's
    where all is lost, at a flat picture of its mean colour, C. In these units, which no size or scaling changes, style
    counts `EVEN` · (s / (1 - s))² times as much as content: weight · S / C is that. Beyond a long side of `FINE`, that
    grows with the `POWER` of the side.

    Args:
        objective: a `kstyle.style.objectives.objective.Objective`, or one by tiles.
        scene: (H, W, 3) float32 in [0, 1], the content that it is of.
        side: long side of the finished picture in pixels, whatever the size at hand.
        regions: of the objective.
    """
    settings = objective.settings
    lost = objective.measured(np.broadcast_to(scene.mean((0, 1)), scene.shape).astype("float32"))["content"]
    style = sum(value for name, value in objective.measured(scene).items() if name in settings.style_terms)
    if not lost or not style:  # a content of one colour, or one that has the style already
        return objective
    if regions is not None:  # outside of them there is no style: inside it is to count as without regions
        covered = [1.0 if region is None else region.share for region in regions]
        style /= min(1.0, sum(covered))
    asked = EVEN * max(1, side / FINE) ** POWER * (settings.strength / (1 - settings.strength)) ** 2
    factor = asked * lost / style
    log.debug("strength %g: style weights × %.3g", settings.strength, factor)

    def weighed(term):
        return term.model_copy(update={"weight": term.weight * factor})

    weights = {"style": weighed(settings.style), "terms": [weighed(term) for term in settings.terms]}
    return objective.with_settings(settings.model_copy(update=weights))
