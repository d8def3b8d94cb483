"""What a painting gives: the picture, its history, and all that makes it again."""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from kstyle.pictures import images

if TYPE_CHECKING:
    import pandas as pd  # which takes a third of a second: only what is painted needs it


@dataclass(frozen=True)
class Result:
    """What `stylize` returns.

    Attributes:
        rgb: (H, W, 3) float32 in [0, 1].
        alpha: (H, W) float32 in [0, 1], the content's; None where it has none.
        history: one row a step: `scale` (long side in pixels), `step` (from 0), `loss`, each weighted term (NaN in a
            pass that does without it), `seconds` since the start. A row's losses are those of the picture before its
            step.
        settings: everything needed to make the picture again: the checked settings, size, steps, seed, precision,
            backend, versions, the weights' origin and SHA-256.

    >>> import kstyle
    >>> result = kstyle.stylize("photo.jpg", "night.jpg", size=256)  # doctest: +SKIP
    >>> result.write("painted.png")  # doctest: +SKIP
    PosixPath('painted.png')
    >>> result.history[["step", "loss"]].tail(1), result.losses["style"]  # doctest: +SKIP
    """

    rgb: np.ndarray
    alpha: np.ndarray | None
    history: "pd.DataFrame"
    settings: dict[str, Any]

    @property
    def image(self) -> Image.Image:
        """The picture as a `PIL.Image` (RGB, or RGBA where the content has transparency)."""
        return images.to_pil(self.rgb, self.alpha)

    @property
    def losses(self) -> dict[str, float]:
        """{"loss": total, each weighted term}: floats, of the last step; empty before the first."""
        last = self.history.iloc[-1].dropna() if len(self.history) else {}
        return {name: float(value) for name, value in last.items() if name not in ("scale", "step", "seconds")}

    def write(self, path: str | os.PathLike[str]) -> Path:
        """Writes the picture, see `kstyle.pictures.images.write`; a PNG gets `settings` in its text. Returns the
        path."""
        text = {"Software": f"kstyle {self.settings['versions']['kstyle']}", "kstyle": json.dumps(self.settings)}
        return images.write(path, self.rgb, self.alpha, text=text)


class Interrupted(KeyboardInterrupt):
    """Ctrl-C during `stylize`; `result` is the `Result` so far."""

    def __init__(self, result: Result) -> None:
        super().__init__()
        self.result = result
