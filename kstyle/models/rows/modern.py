"""torchvision's later networks for ImageNet's pictures, a row each."""

from kstyle.models.rows.row import Option
from kstyle.models.rows.shared import CODE, by_torchvision, normalised, plain


def _drop_path(rate):
    return Option(rate, low=0, high=1, below=True)


def _features(last, head):
    """The parts of a network that torchvision has as `features`, numbered, and `classifier`."""
    stages = {f"stage{i}": (f"features_{i}_*",) for i in range(1, last)}
    return {"stem": ("features_0_*",), **stages, "top": (f"features_{last}_*",), "head": head}


NETWORKS = (
    by_torchvision(
        "vit_b_16", "vit_b_16-c867db91", "vit", smallest=lambda options: options["patch"], flattened=(14, 14),
        options={
            "patch": Option(16, low=1, high=64), "depth": Option(12, low=1, high=48),
            "width": Option(768, low=8, high=4096), "heads": Option(12, low=1, high=64),
            "hidden": Option(3072, low=8, high=16384), **plain(0.0), "drop_path": _drop_path(0.0),
        },
        parts={
            "stem": ("conv_proj", "class_token", "pos_embedding"),
            **{f"layer{i}": (f"layer{i}_*",) for i in range(12)}, "head": ("head",),
        },
        torch=f"{CODE}vit:in_torch",
    ),
    by_torchvision(
        "convnext_tiny", "convnext_tiny-983f1562", "convnext", smallest=32, resize=236,
        options={
            **plain(0.0), "drop_path": _drop_path(0.1), "layer_scale": Option(1e-6, low=0, high=1),
        },
        parts={
            "stem": ("features_0_*",), "stage1": ("features_1_*",),
            # What halves a map belongs to the stage that it prepares.
            **{f"stage{i}": (f"features_{2 * i - 2}_*", f"features_{2 * i - 1}_*") for i in range(2, 5)},
            "top": ("classifier_0",), "head": ("classifier_2",),
        },
        torch=f"{CODE}convnext:in_torch",
    ),
    *(
        by_torchvision(
            name, f"{name}-{digits}", "mobile.mobilenet_v3", smallest=32,
            options={**plain(0.2), **normalised(0.99, 1e-3, True)},
            parts={**_features(last, ("classifier_3",)), "top": (f"features_{last}_*", "classifier_0")},
        )
        for name, digits, last in (("mobilenet_v3_small", "047dcff4", 12), ("mobilenet_v3_large", "8738ca79", 16))
    ),
    by_torchvision(
        "efficientnet_v2_s", "efficientnet_v2_s-dd5fe13b", "mobile.efficientnet_v2", smallest=32, size=384, resize=384,
        options={**plain(0.2), "drop_path": _drop_path(0.2), **normalised(0.9, 1e-3, True)},
        parts=_features(7, ("classifier_1",)),
    ),
)  # fmt: skip
