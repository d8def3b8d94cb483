"""Options that the commands that paint have in common, and what they say together."""

import click

from kstyle.cli.common import completing
from kstyle.errors import UsageError
from kstyle.io.files import expanded, one_line
from kstyle.training.results.tta import WAYS


class Path(click.Path):
    """The type of every option and argument that is, or may be, a path: `~` is written out here and nowhere later.

    `--data=~/pics` reaches us as it is: a shell writes out only a `~` that begins a word.
    """

    def convert(self, value, param, ctx):
        return super().convert(expanded(value), param, ctx)


class Style(Path):
    """The type of what may be a style network's file, or `style:NAME` of one that comes with kstyle."""

    def convert(self, value, param, ctx):
        from kstyle.style.networks import shipped

        return super().convert(str(shipped.located(value)) if shipped.is_name(value) else value, param, ctx)


PATH = Path(readable=False)  # whether it can be read is said by what reads it
STYLE = Style(readable=False)

preset = click.option(
    "-p", "--preset", type=PATH, default="kstyle", show_default=True, metavar="NAME|FILE", help="See `kstyle presets`.",
    shell_complete=completing.files_of("stylize"),
)  # fmt: skip
style_weight = click.option(
    "--style-weight", metavar="W[,W...]", help="Weight of style; or, for several styles, of each: 3,7"
)
colour = click.option(
    "--colour", "--color", metavar="MODE", help="Whose colours: luminance, match-symmetric, histogram, ...",
    shell_complete=completing.colours,
)  # fmt: skip
network = click.option(
    "--network", type=PATH, metavar="FILE.keras", help="Paint after the STYLEs by a network for any style, at once."
)
init = click.option(
    "--init", type=PATH, metavar="content|noise|style|detail|FILE", help="What to start from.",
    shell_complete=completing.words("content", "noise", "style", "detail", other="file"),
)  # fmt: skip
extractor = click.option(
    "--extractor", metavar="NAME", help="vgg19, vgg16, squeezenet1.1, or one of them with -torchvision.",
    shell_complete=completing.extractors,
)  # fmt: skip
weights = click.option(
    "--weights", type=PATH, metavar="FILE", help="The extractor's weights: .h5, .npz, .pth or .safetensors."
)
precision = click.option(
    "--precision", default="auto", show_default=True, metavar="auto|float32|bfloat16",
    help="Number format of the network.", shell_complete=completing.words("auto", "float32", "bfloat16"),
)  # fmt: skip
seed = click.option("--seed", default=0, show_default=True, help="Of all random numbers.")
max_memory = click.option(
    "--max-memory", metavar="AMOUNT", help="Paint by tiles where it takes more: 6GB.  [default: what is free]"
)


def _use_device(context, option, name):
    from kstyle import startup

    if name is not None and not context.resilient_parsing:
        startup.use_device(name)


# Eager: a framework chooses its device as it is imported.
device = click.option(
    "--device", is_eager=True, expose_value=False, callback=_use_device, envvar="KSTYLE_DEVICE",
    metavar="auto|cpu|cuda:1|mps|xpu", help="What computes.  [default: KSTYLE_DEVICE, a GPU if there is one]",
    shell_complete=completing.words("auto", "cpu", "cuda", "mps", "xpu"),
)  # fmt: skip
tta = click.option(
    "--tta", type=click.Choice(WAYS), help="The mean over a picture and its mirror image, or over crops of it."
)
jobs = click.option(
    "-j", "--jobs", default=1, show_default=True, metavar="N", type=click.IntRange(1, 64),
    help="Pictures painted at the same time, each by a process of its own.",
)  # fmt: skip
cluster = click.option(
    "--cluster", metavar="auto|HOST:PORT",
    help="Paint on the nodes of a Ray cluster; --jobs is then for each GPU, or each node without.",
)  # fmt: skip
deterministic = click.option("--deterministic", is_flag=True, help="The same bits every time, more slowly.")
data_folder = click.option(
    "--data", type=PATH, metavar="DIR", help="Where the data set is.  [default: KSTYLE_DATA, Keras' folder, a download]"
)


def check_resumed(context, folder, allowed, otherwise):
    """UsageError: an argument beside --resume that the run's own record settles.

    Args:
        context: click's.
        folder: that the run is in.
        allowed: names of parameters that may be given.
        otherwise: what else to do, in words.
    """
    for parameter in context.command.params:
        given = context.get_parameter_source(parameter.name) is click.core.ParameterSource.COMMANDLINE
        if given and parameter.name not in allowed:
            said = max(parameter.opts, key=len) if isinstance(parameter, click.Option) else parameter.metavar
            raise UsageError(f"--resume goes on with what {one_line(folder)} says: leave {said} out, or {otherwise}.")


def style_network(styles, network=None):
    """What the one style that is given says of itself where it is a style network's file; None: pictures are given.

    `network`: the file of one for any style that is to paint after these, which is checked.
    """
    from kstyle.style.networks import style_facts

    if network is not None:
        style_facts.read(network, style_facts.ARBITRARY)
        styles = [style for style in styles if str(style).endswith(".keras")]
        if styles:
            raise UsageError(f"{one_line(styles[0])}: --network paints after pictures: give some in its place.")
    if len(styles) != 1 or not str(styles[0]).endswith(".keras"):
        return None
    return style_facts.read(styles[0])


def settings_and_blend(preset, styles, style_weight, overrides, **given):
    """What options say about a preset, checked.

    Args:
        preset: its name or file.
        styles: how many pictures.
        style_weight: text of `--style-weight`, or None.
        overrides: texts of `--set`.
        given: {setting or its short name: value of its option}; None: the option was not given.

    Returns:
        `({setting: value}, blend)`: overrides for `kstyle.style.settings.load`, and a weight for each style or None.

    Raises:
        UsageError: an option or a setting that cannot be.
    """
    from kstyle import config  # here, as --help needs none of it
    from kstyle.style import settings as style_settings

    weight, blend = parse_style_weight(style_weight, styles)
    given = {name: value for name, value in {**given, "style_weight": weight}.items() if value is not None}
    # --set last: what it says about the optimiser is about the one that was given.
    settings = {**given, **config.parse_overrides(overrides)}
    style_settings.load(preset, settings)
    return settings, blend


def parse_style_weight(text, count):
    """`"20"` -> (20.0, None); `"3,7"` -> (None, [3.0, 7.0])."""
    if text is None:
        return None, None
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        raise UsageError(f"--style-weight expects numbers like 20 or 3,7; got '{text}'.") from None
    if len(numbers) == 1:
        return numbers[0], None
    if len(numbers) != count:
        raise UsageError(f"--style-weight has {len(numbers)} numbers for {count} style picture{'s'[: count > 1]}.")
    return None, numbers


def _load_plugins(context, option, paths):
    from kstyle import plugins

    if not context.resilient_parsing:  # nothing is run for a shell that only wants to complete a name
        plugins.load(paths)


# Eager: what it adds is known when the other options are looked at.
plugin = click.option(
    "--plugin", type=PATH, multiple=True, is_eager=True, expose_value=False, callback=_load_plugins, metavar="FILE.py",
    help="Run a Python file of yours first, which adds losses, networks, presets and so on.",
)  # fmt: skip


def _allow_code(context, option, allow):
    from kstyle import plugins

    if allow and not context.resilient_parsing:
        plugins.allow_code()
        context.call_on_close(lambda: plugins.allow_code(False))


allow_code = click.option(
    "--allow-code", is_flag=True, is_eager=True, expose_value=False, callback=_allow_code,
    help="Run the Python files that the recipe, or the run, names.",
)  # fmt: skip
