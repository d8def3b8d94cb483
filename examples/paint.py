"""Paint the style pictures of the examples: a night sky, a woodblock wave and a stained-glass rose.

Nothing here is copied from an artwork: each picture is drawn from a seed by the functions here and in brush.py, so it
carries no rights (CC0). Run ``python examples/paint.py all`` to paint the three again next to this file.
"""

import argparse
import time
from pathlib import Path

import numpy as np
from brush import Block, Canvas, arc, blur, finish, nearest_seeds, noise, ramp, rgb, smoothstep, spline, streaky
from PIL import Image, ImageDraw

# ------------------------------------------------------------------------------------------------------- the night

SKY = rgb("081231", "0d1f54", "15338a", "1f4bb0", "2f6cc4", "5c9bd6", "a9d0de")
LAND = rgb("060d22", "0a1d40", "103a5c", "1a5a68", "3f8070", "8f9a4a", "d9b64a")
HALO = rgb("fffbe0", "ffee9a", "fcd24a", "f2a925", "cf7d1c", "e2c46a", "7fb09a", "3f7fb8")
# The lights: x, y and radius in picture heights, and the sense in which the sky turns about them.
LIGHTS = [
    (1.090, 0.215, 0.150, 1), (0.175, 0.185, 0.098, -1), (0.450, 0.115, 0.066, 1), (0.760, 0.140, 0.074, -1),
    (0.115, 0.520, 0.076, 1), (0.345, 0.655, 0.054, -1), (1.225, 0.545, 0.070, -1), (0.935, 0.660, 0.050, 1),
]  # fmt: skip
EDDIES = [(0.500, 0.400, 0.185, 1), (0.800, 0.455, 0.135, -1)]


def night_scene(rng, width: int, height: int):
    """The plan of the night: flow direction, stream function, land mask and distance to the nearest light."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float32) / height
    stream = y + 0.045 * np.sin(2 * np.pi * (0.9 * x + 0.25) + 4 * y) + 0.02 * noise(rng, width, height, 5, 4)
    for cx, cy, radius, sense in EDDIES:
        stream += sense * 1.5 * radius * np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / radius**2)
    # Two ridges of hills: strokes run along their slopes, and bend round with them.
    far = 0.800 + 0.035 * np.sin(4.1 * x + 0.6) + 0.020 * np.sin(9.7 * x + 2.0)
    near = 0.900 + 0.040 * np.sin(3.2 * x + 3.4) + 0.015 * np.sin(8.0 * x)
    land = np.where(y > near, 2, np.where(y > far, 1, 0))
    slope = np.where(land == 2, y - near, 1.2 * (y - far) + 0.03 * np.sin(14 * x + 22 * y))
    stream = np.where(land > 0, slope, stream)
    down, right = np.gradient(stream) / np.float32(1 / height)
    # Close to an eddy or a light the flow gives way to plain turning, a little inward so that it winds up.
    nearest = np.full_like(x, 9.0)
    for number, (cx, cy, radius, sense) in enumerate(EDDIES + LIGHTS):
        dx, dy = x - cx, y - cy
        r = np.hypot(dx, dy) / radius
        grip = 1 - (smoothstep(0.25, 0.95, r) if number < len(EDDIES) else smoothstep(1.0, 1.9, r))
        wind = 0.28 if number < len(EDDIES) else 0.06
        length = np.hypot(dx, dy) + 1e-6
        right += grip * (-sense * (dx - wind * dy) / length * 2 - right)
        down += grip * (-sense * (dy + wind * dx) / length * 2 - down)
        if number >= len(EDDIES):
            nearest = np.minimum(nearest, r)
    nearest[land > 0] = 9.0
    return np.arctan2(-right, down), stream, land, nearest


def night_colours(rng, stream, land, nearest, y):
    """Two loads of paint for each stroke, from what lies under its middle."""
    n = len(stream)
    bands = 0.5 + 0.5 * np.sin(2 * np.pi * 9 * stream + 0.5 * rng.standard_normal(n))
    tone = 0.08 + 0.62 * bands**1.3 + 0.13 * rng.standard_normal(n) + 0.12 * (y > 0.62) * (land == 0)
    tone += np.where(rng.random(n) < 0.07, 0.35, 0)
    first, second = ramp(SKY, tone), ramp(SKY, tone + rng.normal(0.0, 0.17, n))
    # Each light is rings of dabs, thinning out into the sky: the mix is of strokes, not of colours.
    lit = rng.random(n) < np.clip(1.45 - 0.7 * nearest, 0, 1) * (0.66 + 0.34 * np.cos(2 * np.pi * 2.1 * nearest))
    lit |= nearest < 0.40
    glow = nearest / 2.0 + 0.10 * rng.standard_normal(n)
    first = np.where(lit[:, None], ramp(HALO, glow), first)
    second = np.where(lit[:, None], ramp(HALO, glow + rng.normal(0.06, 0.10, n)), second)
    earth = 0.36 + 0.30 * np.sin(2 * np.pi * 22 * stream) + 0.14 * rng.standard_normal(n) + 0.08 * (land == 1)
    earth += 0.35 * np.exp(-stream / 0.012) * (land > 0)  # moonlight along the ridges
    first = np.where(land[:, None] > 0, ramp(LAND, earth), first)
    second = np.where(land[:, None] > 0, ramp(LAND, earth + 0.12), second)
    # A little of every hue in every stroke keeps neighbours apart.
    jitter = 1 + 0.07 * rng.standard_normal((n, 3)).astype(np.float32)
    return first * jitter, second * jitter


def night(width: int, height: int, rng) -> Image.Image:
    """Impasto strokes along a swirling sky, coarse to fine, lit from the upper left."""
    w, h = 2 * width, 2 * height
    angle, stream, land, nearest = night_scene(rng, w, h)
    rows = np.repeat(np.arange(h) / h, w)
    ground = night_colours(rng, stream.ravel(), land.ravel(), nearest.ravel(), rows)[0].reshape(h, w, 3)
    # One long streak texture stands for all the brushes: each stroke reads it from its own place.
    streaks = np.clip(0.5 + 0.3 * streaky(rng, 1024, 512, (0.7, 6, 73), (0.7, 15, 160), (0.3, 73, 170)), 0, 1)
    canvas = Canvas(blur(ground, 0.01 * h), angle, streaks)
    # Layer: brush width and stroke length in picture heights, and how many times over it covers the canvas.
    layers = [(0.046, 0.21, 2.5), (0.029, 0.165, 1.9), (0.019, 0.120, 1.15), (0.0095, 0.080, 0.42)]
    for brush, length, cover in layers:
        count = int(2.5 * cover * (w * h) / (brush * length * h * h))
        py, px = (rng.random((2, count)) * [[h], [w]]).astype(np.float32)
        # About the lights the strokes are shorter, and so there are more of them.
        dense = nearest[py.astype(int), px.astype(int)] < 2.0
        keep = rng.random(count) < np.where(dense, 1.0, 0.4)
        py, px, dense = py[keep], px[keep], dense[keep]
        count, here = len(px), (py.astype(int), px.astype(int))
        size = np.where(dense, 0.6, 1.0) * rng.uniform(0.7, 1.25, count)
        wide = brush * h * size * rng.uniform(0.75, 1.2, count) / 2
        long = length * h * size * rng.uniform(0.6, 1.3, count)
        one, two = night_colours(rng, stream[here], land[here], nearest[here], py / h)
        offset = rng.integers(0, 1024, (count, 1, 1)), rng.integers(0, 2048, (count, 1, 1))
        steps, bristles = int(length * h / 0.6), int(brush * h * 1.3 / 0.6)
        canvas.lay(steps, bristles, px, py, wide, long, one, two, *offset)
    return finish(canvas.lit(), width, height)


# -------------------------------------------------------------------------------------------------------- the wave

PAPER = rgb("f1e4c6")[0]
INKS = {"pale": rgb("8dbfce")[0], "mid": rgb("2f78ab")[0], "deep": rgb("14417f")[0], "red": rgb("cf4428")[0]}
KEY = rgb("142242")[0]
# One breaking wave, x to the right and y up, in wave heights: its back from foot to tip, and its face likewise.
BACK = [(-2.3, -0.8), (-1.9, -0.25), (-1.35, 0.10), (-0.85, 0.42), (-0.40, 0.80), (0.02, 1.04), (0.42, 1.07),
        (0.74, 0.90), (0.86, 0.66), (0.78, 0.48)]  # fmt: skip
FACE = [(1.9, -0.8), (1.6, -0.35), (1.15, -0.10), (0.66, 0.02), (0.30, 0.20), (0.14, 0.42), (0.19, 0.64),
        (0.38, 0.76), (0.58, 0.72), (0.78, 0.48)]  # fmt: skip


def finger(start, heading: float, length: float, radius: float, curl: float, forks: int):
    """A claw of foam: discs along a hooked line, with smaller claws out of its outer side and its tip."""
    steps = max(6, int(length / radius * 3))
    turn = heading + curl * np.linspace(0, 1, steps) ** 1.3
    path = np.asarray(start) + np.cumsum(np.stack([np.cos(turn), np.sin(turn)], 1), 0) * length / steps
    parts = [(path, radius * np.linspace(1, 0.34, steps))]
    if forks:
        for at, side in ((0.50, -0.9), (0.75, 0.8), (0.98, -0.75), (0.98, 0.5)):
            i = min(steps - 1, int(at * steps))
            parts.append(finger(path[i], turn[i] + side, length * 0.45, radius * 0.55, curl * 0.9, forks - 1))
    return joined(parts)


def joined(parts):
    """Several (centres, radii) as one."""
    return [np.concatenate(part) for part in zip(*parts)]


def draw_wave(block: Block, rng, x: float, y: float, size: float, lean: float):
    """A breaking wave with its foot at (x, y): stripes that run from foot to lip, then foam."""

    def place(points):
        points = np.asarray(points)
        return np.stack([x + size * (points[:, 0] + lean * points[:, 1] ** 2), y - size * points[:, 1]], 1)

    back, face = spline(BACK, 140), spline(FACE, 140)
    edge = 0.0016 + 0.0035 * size
    stripes = 22 if size > 0.3 else 16 if size > 0.18 else 11
    cuts = np.cumsum(rng.uniform(0.6, 1.4, stripes) * np.where(np.arange(stripes) % 2, 0.75, 1.25))
    cuts = np.concatenate([[0], cuts / cuts[-1]])
    wobble = 0.012 * np.sin(np.linspace(0, 9, 140) + rng.uniform(0, 6))[:, None]
    curves = [place(back + (face - back) * (c + wobble * 4 * c * (1 - c))) for c in cuts]
    block.shape(np.concatenate([curves[0], curves[-1][::-1]]), 2, edge * 1.6)
    for i in range(stripes):
        ink = (3, 0, 3, 1, 2, 1)[i % 6] if i < stripes - 2 else (0, 1)[i % 2]
        block.shape(np.concatenate([curves[i], curves[i + 1][::-1]]), ink, edge * 0.6)
    # Fine cut lines within the wider stripes.
    for i in range(0, stripes, 2):
        middle = (curves[i] + curves[i + 1]) / 2
        block.stroke(middle[10:100], edge * 0.45)
    draw_foam(block, rng, np.concatenate([place(back[70:]), place(face[:105:-1])]), size, edge)


def draw_foam(block: Block, rng, lip: np.ndarray, size: float, edge: float):
    """A bank of beads along the lip of a wave, claws that hang from it and reach ahead, and spray."""
    normal = np.gradient(lip, axis=0)
    normal = np.stack([normal[:, 1], -normal[:, 0]], 1) / np.linalg.norm(normal, axis=1, keepdims=True)
    heading = np.arctan2(normal[:, 1], normal[:, 0])
    bank = np.linspace(0, 0.16, len(lip)).clip(0, 0.035) * rng.uniform(0.6, 1.3, len(lip))  # thin where it begins
    foam, cores = [(lip, size * (0.008 + bank))], []
    claws = max(10, int(19 * min(1.0, size / 0.4)))
    for i in np.linspace(6, len(lip) - 4, claws).astype(int):
        ahead = i / len(lip)
        length = size * rng.uniform(0.13, 0.23) * (0.6 + 0.9 * np.sin(np.pi * min(1, ahead + 0.1)))
        thick, curl = size * rng.uniform(0.024, 0.034), rng.uniform(0.9, 1.9)
        foam.append(finger(lip[i], heading[i] + 0.5, length, thick, curl, 1))
        back = rng.uniform(-1.3, -0.5)  # a short one the other way
        foam.append(finger(lip[i], heading[i] + 2.3, length * 0.45, size * 0.022, back, 0))
        cores.append(finger(lip[i], heading[i] + 0.5, length * 0.9, size * 0.010, 1.1, 0))
    block.beads(*joined(foam), 0, edge)
    # Shadow in the foam: a pale streak down every claw, and flecks of blue along the bank.
    for c, r in cores:
        block.beads(c, r, 1, 0)
    flecks = lip[rng.integers(8, len(lip), 40)] + rng.normal(0, 0.012 * size, (40, 2))
    block.beads(flecks, size * rng.uniform(0.003, 0.009, 40), 2, 0)
    # Spray, thrown ahead of the crest.
    drops = 46
    out = np.abs(rng.normal(0, 0.20, drops)) + 0.10
    pick = rng.integers(0, len(lip), drops)
    spot = lip[pick] + normal[pick] * size * out[:, None] + rng.normal(0, 0.05, (drops, 2)) * size
    block.beads(spot, size * rng.uniform(0.004, 0.017, drops), 0, edge * 0.5)


def draw_swell(block: Block, rng, y: float, size: float, aspect: float):
    """A band of water from side to side under a row of waves, with contour lines that follow its surface."""
    t = np.linspace(-0.05, aspect + 0.05, 160)
    phase = rng.uniform(0, 6.3, 3)
    top = sum(g * np.sin(k * t / size + p) for g, k, p in zip((0.10, 0.06, 0.03), (1.7, 3.1, 5.3), phase))
    depth = np.linspace(0, 1, 12)
    for i, d in enumerate(depth):
        level = y + size * (top * (1 - 0.35 * d) + 0.75 * d)
        line = np.stack([t + 0.04 * size * np.sin(5 * t / size + 7 * d), level], 1)
        floor = [(aspect + 0.1, 1.2), (-0.1, 1.2)]
        block.shape(np.concatenate([line, floor]), (1, 3, 2, 3, 0, 2)[i % 6], 0.0014 + 0.003 * size)


def draw_mist(block: Block, x0: float, x1: float, y: float):
    """Two bars of mist with round ends, one of ink and one of paper."""
    turn, r = np.linspace(-np.pi / 2, np.pi / 2, 30), 0.017
    right, left = arc(x1, y, r, turn), arc(x0, y, -r, turn)
    block.shape(np.concatenate([right, left]), 1, 0.0018)
    block.shape(np.concatenate([right + np.array([0.05, 1.6 * r]), left + np.array([0.09, 1.6 * r])]), 0, 0.0018)


def wave(width: int, height: int, rng) -> Image.Image:
    """A woodblock print of breaking waves: key block and four colour blocks on laid paper, a little out of register."""
    w, h, aspect = 2 * width, 2 * height, width / height
    block = Block(w, h)
    # The sun, and bars of cloud before it.
    turn = np.linspace(0, 2 * np.pi, 90)
    block.shape(arc(1.02, 0.175, 0.105, turn), 4, 0.002)
    for x0, x1, y0 in ((0.05, 0.42, 0.105), (0.22, 0.66, 0.150), (0.84, 1.26, 0.205), (0.98, 1.40, 0.120)):
        draw_mist(block, x0, x1, y0)
    rows = [(0.40, 0.15, 5, 0.36), (0.56, 0.22, 4, 0.50), (0.78, 0.33, 3, 0.72), (1.06, 0.42, 2, 1.0)]
    for row, (y, size, count, gap) in enumerate(rows):
        draw_swell(block, rng, y - 0.12 * size, size, aspect)
        for x in (np.arange(count) + (0.2, 0.65, 0.3, 0.35)[row]) * gap + rng.normal(0, 0.03, count):
            draw_wave(block, rng, x, y + rng.normal(0, 0.02), size * rng.uniform(0.85, 1.15), rng.uniform(-0.1, 0.12))
    return finish(printed(block, rng, w, h), width, height)


def printed(block: Block, rng, w: int, h: int) -> np.ndarray:
    """Print the blocks one after the other on paper, each ink multiplied onto what is there."""
    area, y = np.asarray(block.area), np.linspace(0, 1, h, dtype=np.float32)[:, None]
    fibre = noise(rng, w, h, w / 3, h / 3) * 0.010 + noise(rng, w, h, w / 40, h / 5) * 0.008
    picture = PAPER * (1 + fibre + 0.012 * noise(rng, w, h, 5, 4))[..., None]
    # Grain of the cherry board: long rings, bent, the same for every block.
    bend = y * 40 + 1.3 * noise(rng, w, h, 3, 5) + 0.25 * noise(rng, w, h, 6, 40)
    grain = 0.5 + 0.5 * np.sin(2 * np.pi * bend)
    # Bokashi: the printer wipes the ink thinner down or up the board.
    sky = np.clip(1 - y / 0.22, 0, 1) ** 1.4 * (area == 0) * (np.asarray(block.line) == 0)
    wipes = {"pale": 0.55 + 0.45 * np.sin(9 * y) ** 2, "mid": 0.70 + 0.30 * np.cos(7 * y) ** 2, "deep": 0.8 + 0.2 * y}
    plates = [((area == i + 1) * wipes.get(ink, 1.0), INKS[ink]) for i, ink in enumerate(INKS)]
    plates += [(sky, INKS["deep"]), (np.asarray(block.line) / 255, KEY)]
    for number, (plate, ink) in enumerate(plates):
        key = number == len(plates) - 1
        if not key:  # the paper never lies quite where the key block had it
            down, right = np.rint(rng.normal(0, 0.0016 * h, 2)).astype(int)
            plate = plate[np.clip(np.arange(h) - down, 0, h - 1)][:, np.clip(np.arange(w) - right, 0, w - 1)]
        plate = blur(plate, 0.0008 * h)
        wear = 1 - (0.06 if key else 0.16) * grain - 0.05 * np.clip(noise(rng, w, h, w / 4, h / 4), -2, 3)
        cover = np.clip(plate * wear, 0, 1)[..., None]
        picture = picture * (1 - cover * (1 - ink))
    return picture


# ----------------------------------------------------------------------------------------------------- the window

JEWELS = {
    "amber": rgb("7a2c02", "cc6804", "f7a81a", "ffd654", "fff3b8"),
    "ruby": rgb("2e020c", "84061c", "c4142a", "ea3c34", "ff8a5c"),
    "emerald": rgb("01241c", "04553a", "0c8c4c", "46bc5c", "c0ec90"),
    "cobalt": rgb("04063a", "0a1c84", "1440c8", "3a7cf0", "9cd0ff"),
    "violet": rgb("16042e", "3c0c6c", "6a209c", "a04cc0", "e4a0d8"),
    "teal": rgb("011e2c", "034a60", "0a8090", "36b6b4", "b0f0dc"),
}
LEAD = rgb("101116")[0]
HEART = (0.43, 0.53)  # of the rose, in picture widths and heights
RAYS = 7


def glass_panes(rng, aspect: float):
    """The panes' seeds, in rings about the heart, and their kinds of glass: a sun whose rays are flames."""
    seeds, kinds = [np.zeros((1, 2))], ["amber"]
    radius, ring = 0.062, 1
    while radius < 1.25:
        count = RAYS * max(1, round(2 * np.pi * radius / (0.060 + 0.022 * radius) / RAYS))
        turn = (np.arange(count) + 0.5 * (ring % 2) + rng.normal(0, 0.07, count)) / count
        r = radius + rng.normal(0, 0.008, count)
        seeds.append(arc(0, 0, r, 2 * np.pi * turn))
        ray = np.abs((turn * RAYS) % 1 - 0.5) * 2  # 0 on the middle of a flame, 1 between two
        for off in ray / np.clip(1.12 - 0.95 * radius, 0.2, 1):
            if radius < 0.19:
                kind = "amber" if radius < 0.10 else "ruby"
            elif off < 0.30:
                kind = "amber" if radius < 0.80 else "ruby"
            elif off < 0.58:
                kind = "ruby" if ring % 5 < 4 else "violet"
            else:
                kind = ("cobalt", "teal", "cobalt", "cobalt", "emerald", "teal")[ring % 6]
            kinds.append(kind if rng.random() > 0.06 else rng.choice(list(JEWELS)))
        radius += 0.066 + 0.020 * radius
        ring += 1
    seeds = np.concatenate(seeds) + np.array([HEART[0] * aspect, HEART[1]])
    return seeds.astype(np.float32), np.array([list(JEWELS).index(kind) for kind in kinds])


def glass(width: int, height: int, rng) -> Image.Image:
    """A twisted rose window: bent panes of streaky glass in lead, with light behind them."""
    w, h, aspect = width * 3 // 2, height * 3 // 2, width / height
    y, x = np.mgrid[0:h, 0:w].astype(np.float32) / h
    # Panes are cut as straight Voronoi cells, then the whole drawing is twisted and bent, so the leads curve.
    dx, dy = x - HEART[0] * aspect, y - HEART[1]
    r = np.hypot(dx, dy)
    twist = 1.5 * r + 0.10 * np.sin(9 * r)
    bx = HEART[0] * aspect + dx * np.cos(twist) - dy * np.sin(twist) + 0.011 * noise(rng, w, h, 9, 7)
    by = HEART[1] + dx * np.sin(twist) + dy * np.cos(twist) + 0.011 * noise(rng, w, h, 9, 7)
    seeds, kinds = glass_panes(rng, aspect)
    ids = nearest_seeds(bx, by, seeds, 6)
    own, mine = ids[..., 0], seeds[ids[..., 0]]
    # Distance to the cell's sides; a soft minimum over several sides rounds the corners where leads meet.
    point = np.stack([bx, by], -1)
    total = np.zeros_like(x)
    for k in range(1, ids.shape[-1]):
        other = seeds[ids[..., k]]
        apart = other - mine
        gap = (((mine + other) / 2 - point) * apart).sum(-1) / (np.hypot(apart[..., 0], apart[..., 1]) + 1e-6)
        total += np.exp(-np.maximum(gap, 0) / 0.0035)
    side = -0.0035 * np.log(total + 1e-12)
    came = 0.0042 * (1 + 0.14 * noise(rng, w, h, 30, 22))  # half the lead's width
    pane = smoothstep(0, 1.6 / h, side - came)
    light = glass_light(rng, w, h, own, mine, point, side, len(seeds)) - 0.10 * r
    # Flashed glass: in some panes a second colour swims in the first.
    others = np.where(rng.random(len(seeds)) < 0.3, rng.permutation(kinds), kinds)
    flash = smoothstep(0.2, 1.4, noise(rng, w, h, 34, 26))[..., None] * 0.7
    colour = np.zeros((h, w, 3), np.float32)
    for number, stops in enumerate(JEWELS.values()):
        for which, share in ((kinds, 1 - flash), (others, flash)):
            here = which[own] == number
            colour[here] += ramp(stops, light[here]) * share[here]
    # Rounded lead, lit from above left.
    bulge = blur(np.sqrt(np.clip(1 - (side / came) ** 2, 0, 1)), 1.2)
    down, right = np.gradient(bulge)
    shine = 0.5 * np.clip(-down - right - 0.05, 0, 0.4)
    metal = LEAD * (1 + 0.3 * noise(rng, w, h, 60, 45))[..., None] + shine[..., None]
    picture = colour * pane[..., None] + metal * (1 - pane[..., None])
    # Halation: bright glass spills over the leads.
    glow = blur(np.clip(picture - 0.25, 0, 1), 0.012 * h)
    picture = 1 - (1 - np.clip(picture, 0, 1)) * (1 - 0.55 * np.clip(glow, 0, 1))
    return finish(picture, width, height)


def glass_light(rng, w, h, own, mine, point, side, count):
    """How much light each point of the glass lets through, 0..1: panes, glow, streaks, ripples and seeds."""
    offset = point - mine
    turn = rng.uniform(0, np.pi, count)[own]
    along = offset[..., 0] * np.cos(turn) + offset[..., 1] * np.sin(turn)
    across = offset[..., 1] * np.cos(turn) - offset[..., 0] * np.sin(turn)
    # Each pane is cut from its own place of one streaky sheet, turned its own way.
    sheet = streaky(rng, 1024, 1024, (0.6, 8, 60), (0.35, 20, 200), (0.5, 16, 22), (0.25, 150, 200))
    ox, oy = rng.integers(0, 2048, (2, count))
    streak = sheet[((across * 1500).astype(int) + oy[own]) % 2048, ((along * 1500).astype(int) + ox[own]) % 2048]
    light = rng.normal(0.45, 0.13, count)[own] + 0.12 * streak + 2.2 * along + 0.07 * noise(rng, w, h, 6, 4)
    light += 0.04 * np.sin(across * 600 + 2.5 * noise(rng, w, h, 20, 15))
    # Brightest in the middle; brown paint and dirt gather along the lead.
    light += 0.24 * smoothstep(0.004, 0.030, side) - 0.17 * (1 - smoothstep(0.003, 0.012, side))
    # Seeds: bubbles drawn out along the sheet, bright with a dark side.
    bubbles = Image.new("L", (w, h), 128)
    draw = ImageDraw.Draw(bubbles)
    for bx, by, size in zip(rng.random(1500) * w, rng.random(1500) * h, rng.gamma(2.0, 0.0006 * h, 1500)):
        draw.ellipse([bx - size, by - 1.6 * size, bx + size, by + 1.6 * size], fill=90)
        draw.ellipse([bx - size, by - 1.6 * size, bx + 0.4 * size, by + 0.8 * size], fill=215)
    return np.clip(light + (np.asarray(bubbles, np.float32) - 128) / 350, 0, 1)


# -------------------------------------------------------------------------------------------------- command line

PAINTINGS = {"night": (night, 4), "wave": (wave, 7), "glass": (glass, 11)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("which", nargs="?", default="all", choices=[*PAINTINGS, "all"])
    parser.add_argument("--size", type=int, default=768, help="long side in pixels; the pictures are 4:3")
    parser.add_argument("-o", "--out", type=Path, default=Path(__file__).parent, help="folder for the pictures")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    for name in PAINTINGS if args.which == "all" else [args.which]:
        paint, seed = PAINTINGS[name]
        start = time.perf_counter()
        path = args.out / f"{name}.jpg"
        paint(args.size, args.size * 3 // 4, np.random.default_rng(seed)).save(path, quality=90, optimize=True)
        print(f"{path}: {path.stat().st_size / 1024:.0f} KiB, {time.perf_counter() - start:.1f} s")


if __name__ == "__main__":
    main()
