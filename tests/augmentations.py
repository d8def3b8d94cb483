"""A setting for each augmentation that a recipe may ask for."""

EVERYTHING = {
    "random_resized_crop": True, "horizontal_flip": True, "vertical_flip": 0.3, "zoom": 0.2, "shear": 10,
    "rotation": 20, "randaugment": 3, "shift": 0.1, "pad_crop": 2, "brightness": 0.4, "contrast": 0.4,
    "saturation": 0.4, "hue": 0.2, "grayscale": 0.3, "cutout": 5, "erasing": 0.5, "mixup": 0.4, "cutmix": 1.0,
    "channel_shift_range": 0.2,
}  # fmt: skip
