"""Test-time augmentation: what a network says of several views of a picture, averaged. No framework is needed to know
which there are."""

from kstyle.errors import UsageError, unknown

# "five_crop": the four corners and the middle; "ten_crop": those and their mirror images, as in Krizhevsky et al. 2012,
# "ImageNet Classification with Deep Convolutional Neural Networks".
WAYS = ("flip", "five_crop", "ten_crop")


def side(way, facts):
    """The side of the square that is cut out of a picture, in pixels: of the size that the network takes, or larger
    where crops are taken of it.

    Args:
        way: None or one of `WAYS`.
        facts: `run.json` of a run.

    Raises:
        UsageError: an unknown way, or crops where there is nothing around what the network sees.
    """
    size = facts["shape"][0]
    if way is not None and way not in WAYS:
        raise unknown("test-time augmentation", way, WAYS)
    if way in (None, "flip"):
        return size
    resize = facts.get("resize")
    if not isinstance(resize, int) or resize <= size:  # a stretched picture is seen whole
        raise UsageError(
            f"tta {way}: the network sees all of a picture of {size} pixels, and there is nothing around it to crop: "
            "use tta flip."
        )
    return resize


def views(way, size):
    """What a batch of squares is seen as.

    Args:
        way: one of `WAYS`, or None.
        size: the side that the network takes.

    Returns:
        `function(x)`, (B, H, H, C) -> a list of (B, size, size, C); None where a picture is seen once, as it is.
    """
    if way is None:
        return None

    def seen(x):
        from keras import ops

        last = x.shape[1] - size
        middle = round(last / 2)
        corners = [(0, 0), (0, last), (last, 0), (last, last), (middle, middle)] if way != "flip" else [(0, 0)]
        cut = [x[:, top : top + size, left : left + size] for top, left in corners]
        return cut if way == "five_crop" else [*cut, *(ops.flip(each, axis=2) for each in cut)]

    return seen
