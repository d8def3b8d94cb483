"""What published style transfer computes, in torch and float64: networks, distances, total variation.

For test_presets.py; optimisers are in published_rules.py.
"""

import functools

import numpy as np
import pytest
from keras import ops
from weight_files import resolve

from kstyle.models.networks import feature_layers
from kstyle.style.losses.positions import Positions

torch = pytest.importorskip("torch", reason="the reference is written in torch")
F = torch.nn.functional

CAFFE_MEAN = torch.tensor([103.939, 116.779, 123.68])
TORCH_MEAN, TORCH_DEVIATION = torch.tensor([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]])
# What the picture is optimised in: value = factor · rgb + offset.
UNIT, BYTE, BYTE256 = (1.0, 0.0), (255.0, 0.0), (256.0, 0.0)
DEVIATION = np.array([0.229, 0.224, 0.225])
IMAGENET = (1 / DEVIATION, -np.array([0.485, 0.456, 0.406]) / DEVIATION)


# --- the networks, from plain convolutions; pictures are (3, H, W) RGB in [0, 1], features (C, H, W)


@functools.cache
def layer(network, name):
    arrays = network()
    kernel = torch.from_numpy(arrays[f"{name}/kernel"]).permute(3, 2, 0, 1).contiguous()
    return kernel.double(), torch.from_numpy(arrays[f"{name}/bias"]).double()


def conv(x, network, name, stride=1, padding=1):
    return F.conv2d(x, *layer(network, name), stride=stride, padding=padding)


@functools.cache
def vgg19():
    return resolve("vgg19", "caffe", offline=True).arrays


def caffe(rgb, factor=255.0):
    return factor * rgb.flip(0) - CAFFE_MEAN[:, None, None]


def normalised(rgb):
    return (rgb - TORCH_MEAN[:, None, None]) / TORCH_DEVIATION[:, None, None]


def torch_vgg(rgb, wanted, pool=F.max_pool2d, edge="constant", prepare=caffe):
    """{conv4_2, relu4_2, …}, as many layers as `wanted` needs."""
    x = prepare(rgb)[None]
    found, deepest = {}, max(name.replace("conv", "").replace("relu", "") for name in wanted)
    for block, depth in enumerate((2, 2, 4, 4, 4), 1):
        for i in range(1, depth + 1):
            x = F.pad(x, (1, 1, 1, 1), mode=edge if (block, i) == (1, 1) else "constant")
            x = found[f"conv{block}_{i}"] = conv(x, vgg19, f"block{block}_conv{i}", padding=0)
            x = found[f"relu{block}_{i}"] = F.relu(x)
            if f"{block}_{i}" == deepest:
                return {name: value[0] for name, value in found.items()}
        x = pool(x, 2)


# Caffe's pooling and TensorFlow's SAME keep a last window that the picture does not fill.
max_same = functools.partial(F.max_pool2d, ceil_mode=True)
average_same = functools.partial(F.avg_pool2d, ceil_mode=True)


@functools.cache
def squeezenet():
    """Random weights: SqueezeNet's own are not on every machine."""
    rng, arrays = np.random.default_rng(4), {}
    for name, layer in feature_layers.LAYERS["squeezenet1.1"].items():
        arrays[f"{name}/kernel"] = rng.normal(0, (2 / np.prod(layer.shape[:3])) ** 0.5, layer.shape).astype("float32")
        arrays[f"{name}/bias"] = rng.normal(0, 0.1, layer.shape[-1]).astype("float32")
    return arrays


def torch_squeezenet(rgb, wanted):
    """{conv1, fire2, … fire5}; shown bytes like the Caffe network."""
    found = {}
    x = found["conv1"] = conv(caffe(rgb)[None], squeezenet, "conv1", 2, 0).relu()
    x = F.max_pool2d(x, 3, 2, ceil_mode=True)
    for n in range(2, 6):
        if n == 4:
            x = F.max_pool2d(x, 3, 2, ceil_mode=True)
        x = conv(x, squeezenet, f"fire{n}/squeeze1x1", padding=0).relu()
        one = conv(x, squeezenet, f"fire{n}/expand1x1", padding=0).relu()
        x = found[f"fire{n}"] = torch.cat([one, conv(x, squeezenet, f"fire{n}/expand3x3").relu()], 1)
    return {name: value[0] for name, value in found.items()}


# --- distances of one layer: x of the picture, s of the style (or content), (C, positions) float64


def by_gram(published, shift=0):
    """Of a formula in Gram sums a, b, their positions n, m, and channels c."""

    def distance(x, s, pixels):
        x, s = x.flatten(1) + shift, s.flatten(1) + shift
        return published(x @ x.T, s @ s.T, x.shape[1], s.shape[1], x.shape[0], pixels)

    return distance


elements = by_gram(lambda a, b, n, m, c, p: ((a / (c * n) - b / (c * m)) ** 2).mean())
gatys = by_gram(lambda a, b, n, m, c, p: ((a / n - b / m) ** 2).mean() / c**2)
positions = by_gram(lambda a, b, n, m, c, p: ((a / n - b / m) ** 2).mean())
KERAS = lambda a, b, n, m, c, p: ((a - b) ** 2).sum() / (4 * 9 * p**2)  # noqa: E731
paper = by_gram(lambda a, b, n, m, c, p: ((a - b) ** 2).sum() / (4 * c**2 * n**2))
unscaled = by_gram(lambda a, b, n, m, c, p: ((a - b) ** 2).mean())
root = by_gram(lambda a, b, n, m, c, p: ((a / (c * n) ** 0.5 - b / (c * m) ** 0.5) ** 2).mean())
sums = by_gram(lambda a, b, n, m, c, p: ((a / (c * n) - b / (c * m)) ** 2).sum())
post = by_gram(lambda a, b, n, m, c, p: ((a - b) ** 2).mean() / (c * n))
relative_gram = by_gram(lambda a, b, n, m, c, p: ((a / n - b / m) ** 2).sum() / ((b / m) ** 2).sum())


def newton_schulz(a):
    norm, eye = a.norm(), torch.eye(len(a), dtype=a.dtype)
    y, z = a / norm, eye
    for _ in range(12):
        t = (3 * eye - z @ y) / 2
        y, z = y @ t, t @ z
    return y * norm.sqrt()


class LyapunovRoot(torch.autograd.Function):
    """`newton_schulz` whose gradient is not its own: 12 further iterations solve the Lyapunov equation of the root."""

    @staticmethod
    def forward(ctx, a):
        ctx.root = newton_schulz(a).clone()
        return ctx.root.clone()

    @staticmethod
    def backward(ctx, upstream):
        norm, eye = ctx.root.norm(), torch.eye(len(ctx.root), dtype=ctx.root.dtype)
        a, q = ctx.root / norm, upstream / norm
        for _ in range(12):
            rest = 3 * eye - a @ a
            a, q = a @ rest / 2, (q @ rest - a.T @ (a.T @ q - q @ a)) / 2
        return q / 2


def wasserstein(x, s, pixels):
    """crowsonkb: Gaussian W2 by Newton and Schulz, 12 iterations, and as many for its gradient."""

    def gaussian(f):
        f = f.flatten(1)
        return f.mean(1), torch.cov(f, correction=0) + 1e-4 * torch.eye(len(f), dtype=f.dtype)

    (mean, cov), (its_mean, its_cov) = gaussian(x), gaussian(s)
    its_root = newton_schulz(its_cov.float()).double()  # float32: seconds less for each step
    both = LyapunovRoot.apply((its_root @ cov @ its_root).float()).double()
    return ((mean - its_mean) ** 2).mean() + (its_cov + cov - 2 * both).diagonal().mean()


def cosine(x, s):
    """(n, D), (m, D) -> (n, m) distances."""
    return 1 - F.normalize(x, dim=1) @ F.normalize(s, dim=1).T


SAMPLES = 64  # few, so that the reference stays small


class Steps:
    """The number of the step that is being taken: it says where in the picture sampling terms look."""

    now = 0


def drawn(available, samples=SAMPLES, step=0):
    found = Positions(0, np.int32(step)).draw(available, 1, samples)
    return np.arange(available) if found is None else ops.convert_to_numpy(found)


def nearest(x, turned, pixels):
    """NNST's last pass; `turned`: the style's layer from four sides."""
    x, *turned = (
        f.flatten(1).T[drawn(f.shape[1] * f.shape[2], step=n)] for f, n in ((x, Steps.now), *((s, 0) for s in turned))
    )
    s = torch.cat(turned)
    return cosine(x - x.mean(0), s - s.mean(0)).min(1).values.mean()


def hypercolumns(found, layers):
    """NNST's: all layers, each over its channels, at a quarter of the picture's size."""
    quarter = [side // 4 for side in found["pixels"].shape[1:]]
    parts = [
        F.interpolate(found[name][None], quarter, mode="bilinear", align_corners=True)[0] / len(found[name])
        for name in layers
    ]
    return torch.cat(parts).flatten(1).T


def replaced(x, s):
    """NNST's targets: for each hypercolumn the style's nearest."""
    return s[cosine(x - x.mean(0), s - s.mean(0)).argmin(1)]


def at_its_place(x, target):
    return (1 - F.cosine_similarity(x, target, dim=1)).mean()


def of_content(function):
    """A content formula of differences d, (C, H, W), and the content's own activations."""
    return lambda x, s, pixels: function(x - s, s)


mse = of_content(lambda d, s: (d**2).mean())
total = of_content(lambda d, s: (d**2).sum())
half = of_content(lambda d, s: (d**2).sum() / 2)
half_root = of_content(lambda d, s: (d**2).sum() / (2 * s.numel() ** 0.5))
relative = of_content(lambda d, s: (d**2).mean() / (s**2).mean())


# --- distances of all layers at once, of columns (n, D)


def columns(found, layers, samples, step):
    """STROTSS' columns: positions halve with each pooling, read bilinearly."""
    height, width = found["pixels"].shape[1:]
    where = drawn(height * width, samples, step)
    parts = []
    for name, factor in layers.items():
        f = found[name]
        shrink = 2 ** (0 if name == "pixels" else int(name[4]) - 1)
        y, x = where // width / shrink, where % width / shrink
        part = 0.0
        for dy in (0, 1):
            for dx in (0, 1):
                share = np.abs(1 - dy - y % 1) * np.abs(1 - dx - x % 1)
                rows = np.minimum(np.floor(y).astype(int) + dy, f.shape[1] - 1)
                across = np.minimum(np.floor(x).astype(int) + dx, f.shape[2] - 1)
                part = part + torch.from_numpy(share) * f[:, rows, across]
        parts.append(factor * part)
    return torch.cat(parts).T


def relaxed(distances):
    return torch.maximum(distances.min(1).values.mean(), distances.min(0).values.mean())


def remd(x, s):
    return relaxed(cosine(x, s))


def moments(x, s):
    covariances = torch.cov(x.T, correction=0) - torch.cov(s.T, correction=0)
    return (x.mean(0) - s.mean(0)).abs().mean() + covariances.abs().mean()


def palette(x, s):
    turn = [[0.57735, 0.57735, 0.57735], [-0.57735, 0.788675, -0.211325], [-0.57735, -0.211325, 0.788675]]
    x, s = (f @ torch.tensor(turn, dtype=f.dtype).T for f in (x, s))
    square = ((x[:, None] - s[None]) ** 2).sum(2).clamp(min=1e-5)
    return relaxed(cosine(x, s) + (square / 3).sqrt())


def self_similarity(x, s):
    def shares(f):
        distances = cosine(f, f)
        return distances / distances.sum(0, keepdim=True)

    return (shares(x) - shares(s)).abs().mean() * len(x)


JOINT = (remd, moments, palette, self_similarity)


# --- total variation of (3, H, W), in the units that are optimised


def differences(x):
    return x[:, 1:] - x[:, :-1], x[:, :, 1:] - x[:, :, :-1]


def tv_absolute(x):
    return sum(d.abs().sum() for d in differences(x))


def tv_squares(x):
    return sum((d**2).sum() for d in differences(x))


def tv_half_squares(x):
    return tv_squares(x) / 2


def tv_means(x):
    return sum((d**2).mean() for d in differences(x))


def tv_blur(x):
    """nst-vgg19's."""
    one = torch.exp(-(torch.tensor([-1.0, 0.0, 1.0], dtype=x.dtype) ** 2) / 2)
    kernel = torch.outer(one, one) / torch.outer(one, one).sum()
    blurred = F.conv2d(x[:, None], kernel[None, None], padding=1)[:, 0]
    return ((blurred - x).abs().max(0).values ** 2).mean()


def outside(x):
    """nst-vgg19's."""
    return (-x).relu().mean() + (x - 1).relu().mean()


def tv_power(x):
    down, right = differences(x)
    return ((down[:, :, :-1] ** 2 + right[:, :-1] ** 2) ** 1.25).sum()


def tv_nine(x):
    x = F.pad(x[None], (1, 1, 1, 1), mode="replicate")[0]
    here = x[:, 1:-1, 1:-1]
    straight = ((x[:, 1:-1, 2:] - here) ** 2).mean() + ((x[:, 2:, 1:-1] - here) ** 2).mean()
    across = ((x[:, 1:, 1:] - x[:, :-1, :-1]) ** 2).mean() + ((x[:, 1:, :-1] - x[:, :-1, 1:]) ** 2).mean()
    return 2 * (straight / 3 + across / 12)
