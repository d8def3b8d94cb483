"""Drawing for paint.py: noise and colour, curves, a canvas for thick paint and a block for prints."""

import numpy as np
from PIL import Image, ImageDraw


def rgb(*codes: str) -> np.ndarray:
    """Colours from hexadecimal codes, one row each, as floats in 0..1."""
    return np.array([[int(code[i : i + 2], 16) for i in (0, 2, 4)] for code in codes], np.float32) / 255


def noise(rng, width: int, height: int, across: float, down: float) -> np.ndarray:
    """Smooth noise with about `across` by `down` bumps, zero mean and unit deviation."""
    grid = rng.standard_normal((max(2, round(down)), max(2, round(across)))).astype(np.float32)
    plane = np.asarray(Image.fromarray(grid).resize((width, height), Image.Resampling.BICUBIC))
    return (plane - plane.mean()) / plane.std()


def blur(plane: np.ndarray, sigma: float) -> np.ndarray:
    """Gaussian blur of (H, W) or (H, W, C) by FFT; mirrored margins keep the far edge from bleeding in."""
    if plane.ndim == 3:
        return np.stack([blur(plane[..., c], sigma) for c in range(plane.shape[2])], -1)
    pad = int(3 * sigma) + 1
    wide = np.pad(plane, pad, mode="symmetric")
    fy, fx = np.fft.fftfreq(wide.shape[0])[:, None], np.fft.rfftfreq(wide.shape[1])[None]
    kernel = np.exp(-2 * (np.pi * sigma) ** 2 * (fy**2 + fx**2))
    out = np.fft.irfft2(np.fft.rfft2(wide) * kernel, wide.shape)
    return out[pad:-pad, pad:-pad].astype(np.float32)


def streaky(rng, width: int, height: int, *layers) -> np.ndarray:
    """A sheet of streaks: noises of (strength, across, down), mirrored to twice the size so that it has no seam."""
    sheet = sum(strength * noise(rng, width, height, across, down) for strength, across, down in layers)
    return np.pad(sheet, ((0, height), (0, width)), mode="symmetric")


def ramp(colours: np.ndarray, where: np.ndarray) -> np.ndarray:
    """Look `where` (0..1) up in an evenly spaced colour ramp."""
    stops = np.linspace(0, 1, len(colours))
    return np.stack([np.interp(where, stops, colours[:, c]) for c in range(3)], -1).astype(np.float32)


def smoothstep(low: float, high: float, x: np.ndarray) -> np.ndarray:
    """0 below `low`, 1 above `high`, a smooth S between."""
    t = np.clip((x - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def finish(picture: np.ndarray, width: int, height: int) -> Image.Image:
    """Clip to 8 bits and reduce to the final size, which is what smooths the edges."""
    image = Image.fromarray((np.clip(picture, 0, 1) * 255 + 0.5).astype(np.uint8))
    return image if image.size == (width, height) else image.resize((width, height), Image.Resampling.LANCZOS)


def arc(x: float, y: float, radius, turn: np.ndarray) -> np.ndarray:
    """Points (x, y) at the angles `turn` about a centre."""
    return np.stack([x + radius * np.cos(turn), y + radius * np.sin(turn)], 1)


def spline(points, count: int) -> np.ndarray:
    """Catmull-Rom curve through the points, `count` samples."""
    points = np.asarray(points, float)
    p = np.vstack([2 * points[0] - points[1], points, 2 * points[-1] - points[-2]])
    t = np.linspace(0, len(points) - 1 - 1e-9, count)
    i, f = t.astype(int), (t % 1)[:, None]
    a, b, c, d = p[i], p[i + 1], p[i + 2], p[i + 3]
    return 0.5 * (2 * b + (c - a) * f + (2 * a - 5 * b + 4 * c - d) * f**2 + (3 * b - a - 3 * c + d) * f**3)


def nearest_seeds(x, y, seeds, count: int):
    """Indices of the `count` nearest seeds of every pixel, nearest first, a block of rows at a time."""
    out = np.empty((*x.shape, count), np.int32)
    for top in range(0, len(x), 32):
        rows = slice(top, top + 32)
        far = (x[rows, :, None] - seeds[:, 0]) ** 2 + (y[rows, :, None] - seeds[:, 1]) ** 2
        some = np.argpartition(far, count, axis=-1)[..., :count]
        order = np.argsort(np.take_along_axis(far, some, -1), axis=-1)
        out[rows] = np.take_along_axis(some, order, -1)
    return out


class Canvas:
    """Thick paint, colour and relief, laid on in strokes that follow a flow.

    Args:
        ground: (H, W, 3) colours to paint over.
        angle: (H, W) directions of the flow, in radians from rightwards to downwards.
        streaks: (1024, 2048) in 0..1 without a seam, the bristles' texture, across by along.
    """

    def __init__(self, ground: np.ndarray, angle: np.ndarray, streaks: np.ndarray):
        self.shape = ground.shape[:2]
        self.colour = ground.reshape(-1, 3)
        self.relief = np.zeros(len(self.colour), np.float32)
        self.cos, self.sin = np.cos(angle).astype(np.float32), np.sin(angle).astype(np.float32)
        self.streaks = streaks

    def lay(self, steps: int, bristles: int, *strokes: np.ndarray):
        """Lay strokes of `steps` by `bristles` points, given as arrays of one entry a stroke.

        The arrays: middle x and y, half width and length in pixels, two colours, and place among the streaks (two).
        Later strokes cover earlier ones because NumPy keeps the last of repeated writes to one pixel.
        """
        for start in range(0, len(strokes[0]), 200):  # in batches, for memory
            self._lay(steps, bristles, *(values[start : start + 200] for values in strokes))

    def _lay(self, steps, bristles, px, py, wide, long, one, two, across, along):
        h, w = self.shape
        # Walk each stroke along the flow from its middle, forwards and back; then write its ribbon of bristles.
        stride = (long / steps).astype(np.float32)
        track = np.empty((4, len(px), steps), np.float32)
        for half, sense in ((range(steps // 2, steps), 1), (range(steps // 2 - 1, -1, -1), -1)):
            x, y = px, py
            for i in half:
                at = np.clip(y, 0, h - 1).astype(int), np.clip(x, 0, w - 1).astype(int)
                dx, dy = self.cos[at], self.sin[at]
                track[:, :, i] = x, y, dx, dy
                x, y = x + sense * stride * dx, y + sense * stride * dy
        tx, ty, dx, dy = track[..., None]
        u = np.linspace(0, 1, steps, dtype=np.float32)[None, :, None]
        v = np.linspace(-1, 1, bristles, dtype=np.float32)[None, None, :]
        side = v * wide[:, None, None].astype(np.float32)
        ix, iy = np.rint(tx - dy * side).astype(int), np.rint(ty + dx * side).astype(int)
        down, right = across + side.astype(int), along + (u * long[:, None, None]).astype(int)
        texture = self.streaks[down % 1024, right % 2048]
        # Rounded ends, ragged where the bristles lift.
        blunt = (wide / long)[:, None, None] * 1.5
        end = np.minimum(u, 1 - u) / blunt
        inside = (end > 1 - np.sqrt(np.clip(1 - v * v, 0, 1)) + 0.9 * (texture - 0.5)) & (texture > 1.15 * u - 0.93)
        inside &= (ix >= 0) & (ix < w) & (iy >= 0) & (iy < h)
        flat = (iy * w + ix)[inside]
        stroke = np.broadcast_to(np.arange(len(px))[:, None, None], inside.shape)[inside]
        texture = texture[inside]
        mix = smoothstep(0.35, 0.75, texture)[:, None]
        self.colour[flat] = ((one[stroke] * (1 - mix)) + two[stroke] * mix) * (0.72 + 0.52 * texture[:, None])
        # The brush pushes paint to its sides and to where it stops.
        ridge = (1 - v**8) * (0.75 + 0.35 * v * v) + 0.25 * smoothstep(0.85, 1.0, u)
        thick = np.broadcast_to(ridge, inside.shape)[inside] * (0.35 + 0.9 * texture)
        self.relief[flat] = 0.25 * self.relief[flat] + thick * np.sqrt(wide)[stroke].astype(np.float32) * 0.42

    def lit(self) -> np.ndarray:
        """The painting under light from the upper left, (H, W, 3)."""
        down, right = np.gradient(blur(self.relief.reshape(self.shape), 0.7))
        slope = -(0.8 * down + 0.6 * right)
        shade = np.clip(1 + 1.5 * slope, 0.55, 1.6)[..., None]
        gloss = (np.clip(slope - 0.15, 0, 0.5) * 0.6)[..., None]
        return self.colour.reshape(*self.shape, 3) * shade + gloss


class Block:
    """The colour areas and the key lines of a print, cut at once: a later shape clears what is under it."""

    def __init__(self, width: int, height: int):
        self.area = Image.new("L", (width, height), 0)  # 0 is bare paper, then the inks in their order
        self.line = Image.new("L", (width, height), 0)
        self.areas, self.lines = ImageDraw.Draw(self.area), ImageDraw.Draw(self.line)
        self.h = height

    def shape(self, points, ink: int, edge: float = 0.0):
        """A filled area with an outline `edge` picture heights thick."""
        points = [tuple(p) for p in np.asarray(points) * self.h]
        self.areas.polygon(points, fill=ink)
        self.lines.polygon(points, fill=0)
        if edge:
            self.lines.line([*points, points[0]], fill=255, width=max(1, round(edge * self.h)), joint="curve")

    def stroke(self, points, edge: float):
        """A key line alone."""
        points = [tuple(p) for p in np.asarray(points) * self.h]
        self.lines.line(points, fill=255, width=max(1, round(edge * self.h)), joint="curve")

    def beads(self, centres, radii, ink: int, edge: float):
        """Many discs with one outline about their union: foam."""
        for grow, line in ((edge, 255), (0.0, 0)):
            for (x, y), r in zip(np.asarray(centres) * self.h, (np.asarray(radii) + grow) * self.h):
                self.lines.ellipse([x - r, y - r, x + r, y + r], fill=line)
                self.areas.ellipse([x - r, y - r, x + r, y + r], fill=ink)
