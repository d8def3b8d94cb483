"""What a recipe may say of boxes. No framework is needed."""

from typing import Annotated

from pydantic import Field, model_validator

from kstyle.config import Closed, NotNegative, Positive


class Boxes(Closed):
    """A box head beside the head of the classes, trained on the boxes of the data; `true`: with these values.

    What a told box adds to the loss of its picture is `giou` × (1 − generalised IoU) + `smooth_l1` × the sum over its
    four sides of the smooth L1 loss, in parts of the picture's width and height. A box that augmentation has moved out
    of the picture adds nothing.

    Attributes:
        giou: weight of the first (Rezatofighi et al. 2019, arXiv 1902.09630); 0: without it.
        smooth_l1: weight of the second (Girshick 2015, Fast R-CNN, arXiv 1504.08083); 0: without it.
        beta: from which error on smooth L1 is linear, a part of the side; below it is quadratic.
        width: numbers in the head's hidden layer.
        dropout: share of them dropped in training.
    """

    short_forms = ({"const": True},)
    giou: NotNegative = 1.0
    smooth_l1: NotNegative = 1.0
    beta: Positive = 0.1
    width: Annotated[int, Field(ge=1, le=4096)] = 256
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0

    @model_validator(mode="before")
    @classmethod
    def _as_it_is(cls, value):
        return {} if value is True else value

    @model_validator(mode="after")
    def _learns(self):
        if not (self.giou or self.smooth_l1):
            raise ValueError("giou and smooth_l1 are both 0: the box head would learn nothing")
        return self


def check_augment(augment):
    """Raises a ValueError where an `AugmentSettings` asks for what no box can follow."""
    unfit = {
        "mixup": augment.mixup.alpha and "a mixed picture has two boxes",
        "cutmix": augment.cutmix.alpha and "a mixed picture has two boxes",
        "own": augment.own and "what your own function moves is not known",
    }
    for key, why in unfit.items():
        if why:
            raise ValueError(f"augment.{key} cannot be where there are boxes, as {why}: leave it out")
