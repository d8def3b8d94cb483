"""A data set of eight pictures with boxes, in Tiny ImageNet's layout."""

import numpy as np
from PIL import Image

COLOURS = {"n00000001": (220, 60, 40), "n00000002": (40, 90, 230)}
# Left, top, right, bottom, the last pixels included, of the rectangle in each of four pictures of a class.
PLACES = ((4, 6, 30, 40), (30, 8, 60, 30), (10, 34, 50, 60), (20, 20, 44, 58))


def write(folder):
    """Two classes of four pictures, a rectangle of the class's colour on grey; the same to test on."""
    (folder / "val/images").mkdir(parents=True)
    lines = []
    for wnid, colour in COLOURS.items():
        (folder / f"train/{wnid}/images").mkdir(parents=True)
        rows = []
        for number, (left, top, right, bottom) in enumerate(PLACES):
            pixels = np.full((64, 64, 3), 128, "uint8")
            pixels[top : bottom + 1, left : right + 1] = colour
            name = f"{wnid}_{number}.JPEG"
            for part in (f"train/{wnid}", "val"):
                Image.fromarray(pixels).save(folder / part / "images" / name, quality=95)
            rows.append(f"{name}\t{left}\t{top}\t{right}\t{bottom}\n")
            lines.append(f"{name}\t{wnid}\t{left}\t{top}\t{right}\t{bottom}\n")
        (folder / f"train/{wnid}/{wnid}_boxes.txt").write_text("".join(rows))
    (folder / "val/val_annotations.txt").write_text("".join(lines))
    (folder / "wnids.txt").write_text("\n".join(COLOURS))
    (folder / "words.txt").write_text("n00000001\tred\nn00000002\tblue\n")
    return folder
