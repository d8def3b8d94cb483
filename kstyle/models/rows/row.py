"""What kstyle knows of a network: the row that `kstyle.models.registry` has for it. Needs no framework."""

import numbers
import pkgutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from kstyle.errors import UsageError, unknown


@dataclass(frozen=True)
class Option:
    """What a recipe may say about one of a network's options.

    With neither choices nor limits it may be any value of the default's type.

    Attributes:
        default: as the network's function has it.
        choices: the values it may have.
        low, high: the lowest and the highest number it may be; whole numbers only where the default is one.
        below: whether it must be less than `high`.

    >>> from kstyle import networks
    >>> networks.Option(0.5, low=0, high=1).check("share", "tiny", 2)
    Traceback (most recent call last):
    kstyle.errors.UsageError: Option 'share' of model tiny is a number from 0 to 1; got 2.
    """

    default: Any
    choices: tuple[Any, ...] = ()
    low: float | None = None
    high: float | None = None
    below: bool = False

    def check(self, name: str, network: str, value: Any) -> None:
        """UsageError if this is no value of the option `name` of the model `network`."""
        expected = self._expected(value)
        if expected:
            raise UsageError(f"Option '{name}' of model {network} is {expected}; got {value!r}.")

    def _expected(self, value):
        if self.choices:
            # In Python 0 == False and 1 == True, but who writes the one does not mean the other.
            if any(value is choice or (value == choice and isinstance(value, str)) for choice in self.choices):
                return None
            return "one of " + ", ".join("null" if c is None else str(c).lower() for c in self.choices)
        whole = isinstance(self.default, int) and not isinstance(self.default, bool)
        kind = "a whole number" if whole else "a number"
        fits = isinstance(value, numbers.Integral if whole else numbers.Real) and not isinstance(value, bool)
        if self.low is not None:
            inside = fits and (self.low <= value < self.high if self.below else self.low <= value <= self.high)
            return None if inside else f"{kind} from {self.low} {'to below' if self.below else 'to'} {self.high}"
        if whole or isinstance(self.default, float):
            return None if fits else kind
        kinds = {bool: "true or false", str: "a text"}
        return None if isinstance(value, type(self.default)) else kinds.get(type(self.default))


# Every network's precision. The recipe's `precision` sets it.
DTYPE = Option("float32", ("float32", "mixed_bfloat16", "mixed_float16"))


@dataclass(frozen=True)
class Source:
    """An official file of weights.

    Attributes:
        file: its name, in the cache and in `KSTYLE_WEIGHTS`.
        url: where it is downloaded from; empty where no official file is in a format that kstyle reads.
        sums: checksums, as `kstyle.net.download.misfit` takes them, e.g. `{"sha256": "f37072fd"}` (the first digits).
        cache: whose cache it is kept in, `"keras"` or `"torch"`.
        preprocessing: of the pictures these weights were learnt from, a key of
            `kstyle.models.preprocessing.PREPROCESSINGS`.
        also: other files of the same weights that the cache may hold, `{name: sums}`.
        local: names under which the folder `KSTYLE_WEIGHTS` may hold them, besides.
        bias: the first biases of the first convolution, to tell these weights from another source's.
        package: a file in a Python package that holds them too, `"name/path"`; called as `file`, it is the same file.
        ways: how to get them where they are not on this machine, for messages; empty: as `file` and `local` say.

    >>> from kstyle import networks
    >>> networks.get("vgg19").weights["caffe"].preprocessing
    'caffe'
    """

    file: str = ""
    url: str = ""
    sums: dict[str, str] = field(default_factory=dict)
    cache: str = "keras"
    preprocessing: str = "torch"
    also: dict[str, dict[str, str]] = field(default_factory=dict)
    local: tuple[str, ...] = ()
    bias: tuple[float, ...] = ()
    package: str = ""
    ways: str = ""


@dataclass(frozen=True)
class Network:
    """A classification network, a feature extractor for style transfer, or both.

    What is a function is given as one, or as `"module:function"`, which is imported when the network is built.

    Attributes:
        name: what a recipe's `model.name` and a preset's `network.extractor` call it.
        build: `function(classes, size, channels, *, dtype, **options) -> keras.Model` from normalised pictures
            (B, H, W, channels) to float32 logits (B, classes). `size` is (height, width). None: no classifier.
        options: {option: `Option`, or its default}; `dtype` need not be named.
        smallest: pixels a side below which its strides and pools leave nothing: a number, or `function(options)`.
        size: side of the pictures it was trained on, in pixels.
        resize: what the short side was brought to before the middle `size` × `size` was taken.
        resample: how, `"bilinear"` or `"bicubic"`; for its own ImageNet head. Trainings are bilinear.
        preprocessing: of the weights that are looked for first, a key of
            `kstyle.models.preprocessing.PREPROCESSINGS`. None: it has no pretrained weights.
        parts: {name: patterns (`fnmatch`) of layers}, from the pictures to the logits, the last one `"head"`, which is
            new where the classes are others. Stages of a recipe freeze what comes before a part.
        flattened: (height, width) of the map that is flattened of pictures of `size`, where pretrained dense layers
            come after it.
        weights: {source: `Source`}, in order of preference.
        load: `function(model, path) -> count of arrays` that reads a file of weights without a head, where the file is
            neither PyTorch's nor named as `layers` is.
        borrows: the network whose convolutions it takes, under the same names, where it has no weights of its own.
        torch: {layer: its name in PyTorch's files}, or a function from the list of the layers' names to that. None: it
            has no counterpart in PyTorch.
        features: `function(taps, *, pool, pool_factor, pool_edge, first_padding, dtype) -> keras.Model` from
            preprocessed pictures (B, H, W, 3) to {tap: (B, H', W', C)}. It raises a UsageError for an option that it
            cannot do. None: no extractor. Without `weights` the function gives them.
        layers: {layer: (kernel's shape, its names in PyTorch's files)} of the convolutions, by their names in files.
        taps: the names of the layers that `features` can give, or `"module:table"` of them.
        aliases: {other name of a tap: the tap}.

    >>> from kstyle import networks
    >>> networks.Network("tiny", build="my.module:tiny", options={"width": 8}).options["width"].default
    8
    """

    name: str
    build: Callable[..., Any] | str | None = None
    options: dict[str, Any] = field(default_factory=dict)
    smallest: int | Callable[[dict[str, Any]], int] = 1
    size: int | None = None
    resize: int | None = None
    resample: str = "bilinear"
    preprocessing: str | None = None
    parts: dict[str, Any] = field(default_factory=dict)
    flattened: tuple[int, int] | None = None
    weights: dict[str, Source] = field(default_factory=dict)
    load: Callable[..., int] | str | None = None
    borrows: str | None = None
    torch: dict[str, str] | Callable[[list[str]], dict[str, str]] | str | None = None
    features: Callable[..., Any] | str | None = None
    layers: dict[str, Any] = field(default_factory=dict)
    taps: Iterable[str] | str = ()
    aliases: dict[str, str] = field(default_factory=dict)

    def __post_init__(self):
        options = {key: each if isinstance(each, Option) else Option(each) for key, each in self.options.items()}
        if self.build is not None:
            options.setdefault("dtype", DTYPE)
        object.__setattr__(self, "options", options)
        # Tests and plugins change a row's sources; no two rows share them.
        object.__setattr__(self, "weights", dict(self.weights))

    @property
    def extractors(self) -> dict[str, str | None]:
        """{name in presets: source of weights, or None}: the first source under the network's own name, further ones as
        `name-source`."""
        if self.features is None:
            return {}
        sources: list[str | None] = [*self.weights] or [None]
        return {self.name: sources[0], **{f"{self.name}-{source}": source for source in sources[1:]}}

    def function(self, attribute: str) -> Any:
        """What `build`, `load`, `torch`, `features` or `taps` stands for, imported if it is given as a text."""
        found = getattr(self, attribute)
        return pkgutil.resolve_name(found) if isinstance(found, str) else found

    def source(self, name: str | None) -> Source:
        """The `Source` of this name; of a network without sources None names an empty one, as its function gives the
        weights, or the user's file.

        Raises:
            UsageError: there is none; the message has the nearest name and all there are.
        """
        if name is None and not self.weights:
            return Source()
        if name not in self.weights:
            raise unknown(f"source of {self.name} weights", name, self.weights)
        return self.weights[name]

    def prepared_by(self, source: str | None) -> str | None:
        """The name of the preprocessing of a source's weights; None where neither source nor network has one."""
        return self.weights[source].preprocessing if source in self.weights else self.preprocessing

    @property
    def pretrained(self) -> bool:
        """Whether it is a classifier that can start from what was learnt on ImageNet."""
        return self.build is not None and bool(self.preprocessing or self.borrows)

    @property
    def part_names(self) -> list[str]:
        """The names of its parts, from the pictures to the logits, and `"all"`; a network whose row names none has its
        head alone."""
        return [*(self.parts or ("head",)), "all"]

    def smallest_side(self, options: dict[str, Any] | None = None) -> int:
        """Pixels a side below which the network's strides and pools leave nothing, with these `options`."""
        options = {**{key: each.default for key, each in self.options.items()}, **(options or {})}
        return self.smallest(options) if callable(self.smallest) else self.smallest

    def check(self, classes: int, size: int | tuple[int, int], channels: int, options: dict[str, Any]) -> None:
        """Whether the network can be built, before a framework is loaded.

        Args:
            classes: number of classes, at least 2.
            size: of the pictures, in pixels: a side or (height, width).
            channels: of the pictures, 1 to 4.
            options: {option: value}.

        Raises:
            UsageError: an unknown option (with the nearest match), an impossible value, or pictures that the network's
                pooling would leave nothing of (with the smallest size it takes).
        """
        name = self.name
        for key, value in options.items():
            if key not in self.options:
                raise unknown(f"option of model {name}", key, self.options)
            self.options[key].check(key, name, value)
        if not _whole(classes) or classes < 2:
            raise UsageError(f"{name} needs 2 classes or more; got {classes!r}.")
        if not _whole(channels) or not 1 <= channels <= 4:
            raise UsageError(f"{name} takes pictures of 1 to 4 channels; got {channels!r}.")
        least, sides = self.smallest_side(options), size if isinstance(size, (tuple, list)) else (size, size)
        if len(sides) != 2 or not all(map(_whole, sides)):
            raise UsageError(f"The size of {name}'s pictures is a number of pixels or (height, width); got {size!r}.")
        if min(sides) < least:
            raise UsageError(f"{name} takes pictures of {least} × {least} pixels or more; got {sides[0]} × {sides[1]}.")

    def make(self, classes: int, size: int | tuple[int, int], channels: int = 3, **options: Any) -> Any:
        """The classification network with initial values, see `kstyle.models.classifiers.build`.

        >>> from kstyle import networks
        >>> networks.get("mnist_cnn").make(10, 28, channels=1).output_shape
        (None, 10)
        """
        self.check(classes, size, channels, options)
        sides = tuple(size) if isinstance(size, (tuple, list)) else (size, size)
        model = self.function("build")(classes, sides, channels, **{"dtype": "float32", **options})
        model.name = self.name  # a network of the user's may have been called otherwise; parts and weights go by it
        return model


def _whole(value):
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)
