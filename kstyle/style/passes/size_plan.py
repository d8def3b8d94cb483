"""What a preset says of the sizes that a picture passes through: which, how many steps at each, when to leave one."""

from typing import Annotated

from pydantic import Field

from kstyle.config import Closed, NotNegative, Positive, share

Side = Annotated[int, Field(ge=0)]
Share = Annotated[float, Field(gt=0, le=1)]


def from_side(table, side, below):
    """What {long side: value} says of a side: the entry of the largest that is not larger."""
    reached = [start for start in table if start <= side]
    return table[max(reached)] if reached else below


class Finish(Closed):
    """A last pass, at the final size.

    Attributes:
        steps: gradient evaluations.
        terms: `style`, `content` and others by their columns: this pass has only these, the passes before only the
            others.
    """

    steps: Annotated[int, Field(ge=1)]
    terms: list[str] = Field(min_length=1)


class Scales(Closed):
    """The sizes a picture passes through, from coarse to fine.

    Attributes:
        steps: gradient evaluations at each size, from the final one down; the last entry serves all coarser ones.
        steps_from: instead of `steps`, {long side: gradient evaluations} from that side on, smaller ones as the first.
        shares_from: {long side: share}: from that side on a size takes this share of its steps, at least one; all of
            them below the first. For large pictures, whose finest sizes take nearly all of the time and change little.
        weights_from: {term: {long side: factor}}: by what a term's weight is multiplied from that side on; 1 below the
            first.
        rates_from: {long side: factor}: by what the learning rate is multiplied from that side on, likewise.
        last_rate: by what it is multiplied at the final size.
        finish: a last pass with other terms; None: none.
        factor: ratio of one size to the next.
        smallest: long side in pixels below which no size is added; None: the final size only.
        carry: hand the optimiser's state from size to size.
        margin: pixels by which the picture is continued on each side, mirrored, at every size but the final one. The
            network's zero padding leaves a rim a few pixels wide; the finer sizes would magnify it.
    """

    steps: list[Annotated[int, Field(ge=1)]] = Field(default=[500], min_length=1)
    steps_from: dict[Side, Annotated[int, Field(ge=1)]] | None = None
    shares_from: dict[Side, Share] = Field(default={})
    weights_from: dict[str, dict[Side, NotNegative]] = Field(default={})
    rates_from: dict[Side, Positive] = Field(default={})
    last_rate: Positive = 1.0
    finish: Finish | None = None
    factor: Annotated[float, Field(gt=1)] = 2.0
    smallest: Annotated[int, Field(ge=32)] | None = None
    carry: bool = True
    margin: Annotated[int, Field(ge=0, le=64)] = 0

    def plan(self, size, total=None, at_least=0):
        """[(long side, steps)], from coarse to fine, and again the final one where there is a `finish`.

        Args:
            size: the final long side in pixels.
            total: gradient evaluations in all, shared out in the preset's proportions, at least one each. None: the
                preset's own.
            at_least: long side in pixels below which no size is added, whatever the preset says.
        """
        sides = [size]
        while self.smallest is not None and sides[-1] / self.factor >= max(self.smallest * 0.99, at_least):
            sides.append(sides[-1] / self.factor)
        if self.steps_from:
            steps = [from_side(self.steps_from, round(s), self.steps_from[min(self.steps_from)]) for s in sides]
        else:
            steps = [self.steps[min(i, len(self.steps) - 1)] for i in range(len(sides))]
        steps = [max(1, round(n * from_side(self.shares_from, round(s), 1.0))) for s, n in zip(sides, steps)]
        if self.finish:
            sides, steps = [size, *sides], [self.finish.steps, *steps]
        if total is not None:
            sides, steps = sides[:total], steps[:total]
            steps = share(total, steps)
        return [(round(side), count) for side, count in zip(reversed(sides), reversed(steps))]


def as_recorded(scales, side):
    """The scales in a record of settings without the shares that begin beyond the picture's long side.

    They change nothing in it, and a batch that was painted before there were any is not to be painted anew.
    """
    shares = scales.get("shares_from")
    if shares and min(map(int, shares)) <= side:
        return scales
    return {key: value for key, value in scales.items() if key != "shares_from"}


class Plateau(Closed):
    """When a size is left before its last step: in its last `steps` the best loss fell by less than `gain`.

    Attributes:
        steps: gradient evaluations.
        gain: a share of the best loss.
    """

    steps: Annotated[int, Field(ge=2)] = 30
    gain: Annotated[float, Field(gt=0, lt=1)] = 0.01
