"""How many pictures a file holds, counted up to a limit: a file may claim any number."""

import contextlib

MOST = 1000  # pages of a TIFF that are counted: for each, Pillow goes through all before it


def count(image):
    """How many frames or pages an open `PIL.Image` has, as a text: `"3"`, `"1000 or more"`."""
    if image.format != "TIFF":
        return str(getattr(image, "n_frames", 1))
    shown, found = image.tell(), 1
    with contextlib.suppress(EOFError):
        while found < MOST:
            image.seek(found)
            found += 1
    image.seek(shown)
    return f"{found} or more" if found == MOST else str(found)
