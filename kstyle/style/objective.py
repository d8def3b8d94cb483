"""What is minimised: content, style and total variation, with their targets computed once."""

from kstyle import backend  # noqa: F401  # isort: skip  # first: it settles what Keras runs on

import keras
import numpy as np

from kstyle.style import losses

ops = keras.ops

# The space in which the picture is optimised: value = factor · rgb + offset, rgb in [0, 1]. Adam's learning rate,
# L-BFGS' first step and total variation depend on it, so a published recipe needs its own.
SPACES = {
    "unit": (1.0, 0.0),
    "byte": (255.0, 0.0),
    "byte-256": (256.0, 0.0),
    # (rgb - mean) / deviation of ImageNet, as torchvision's transforms leave it.
    "imagenet": (
        1 / np.array([0.229, 0.224, 0.225], "float32"),
        -np.array([0.485, 0.456, 0.406], "float32") / np.array([0.229, 0.224, 0.225], "float32"),
    ),
}


def to_space(rgb, space):
    """rgb: (..., 3) NumPy in [0, 1] -> the values that are optimised."""
    factor, offset = SPACES[space]
    return (rgb * np.float32(factor) + np.float32(offset)).astype("float32")


def from_space(values, space):
    """The inverse of `to_space`, for NumPy arrays and tensors."""
    factor, offset = SPACES[space]
    if space == "unit":
        return values
    inverse = np.asarray(1 / factor, "float32")
    if isinstance(values, np.ndarray):
        return (values - np.float32(offset)) * inverse
    return (values - ops.convert_to_tensor(np.float32(offset))) * ops.convert_to_tensor(inverse)


def style_targets(extractor, settings, styles, blend):
    """The Gram matrices to reach: {tap: (C, C) float32}, the weighted mean over the styles.

    Args:
        extractor: `kstyle.models.features.Extractor` with at least the taps of `settings.style.layers`.
        settings: `kstyle.style.settings.StyleSettings`.
        styles: list of (H, W, 3) float32 RGB in [0, 1], of any sizes.
        blend: a weight for each, of any sum.
    """
    targets = {}
    for picture, weight in zip(styles, np.asarray(blend, "float32") / np.sum(blend)):
        features = extractor(ops.convert_to_tensor(picture))
        for tap in settings.style.layers:
            part = losses.scaled_gram(features[tap], settings.style.loss) * weight
            targets[tap] = targets[tap] + part if tap in targets else part
    return {tap: ops.stop_gradient(target) for tap, target in targets.items()}


def content_targets(extractor, settings, content):
    """{tap: (1, H, W, C) float32} of content: (H, W, 3) float32 RGB in [0, 1]."""
    features = extractor(ops.convert_to_tensor(content))
    return {tap: ops.stop_gradient(ops.cast(features[tap], "float32")) for tap in settings.content.layers}


def objective(extractor, settings, content_target, style_target):
    """The loss as a pure function of the picture.

    Args:
        extractor, settings: as for the targets, which must come from the same ones.
        content_target: from `content_targets`, of a picture of the size that is made.
        style_target: from `style_targets`.

    Returns:
        `loss(image) -> (total, parts)`: image (H, W, 3) in the space `settings.space`; parts the weighted terms by name
        (`"content"`, `"style"`, `"tv"`; those of weight 0 are left out), float32 scalars that add up to the total.
    """
    content, style, tv = settings.content, settings.style, settings.tv
    content_loss = losses.CONTENT_LOSSES[content.loss]

    def loss(image):
        height, width = image.shape[:2]
        features = extractor(from_space(image, settings.space))
        parts = {}
        if content.weight:
            parts["content"] = content.weight * sum(
                weight * content_loss(ops.cast(features[tap], "float32"), content_target[tap])
                for tap, weight in content.layers.items()
            )
        if style.weight:
            parts["style"] = style.weight * sum(
                weight * losses.gram_loss(features[tap], style_target[tap], style.loss, height * width)
                for tap, weight in style.layers.items()
            )
        if tv.weight:
            parts["tv"] = tv.weight * losses.TV_LOSSES[tv.kind](image)
        return sum(parts.values()), parts

    return loss
