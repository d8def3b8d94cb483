"""Recipes and presets: YAML files read into typed, closed settings, with overrides and errors that name the nearest
match."""

import functools
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, ClassVar, get_args

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from kstyle import plugins, strict_yaml
from kstyle.errors import DataError, UsageError, did_you_mean, unknown
from kstyle.io.files import expanded, one_line, plain, read_bytes, shown
from kstyle.open_names import Names

# A file of settings has a kilobyte or two.
LARGEST = 1_000_000


class Also:
    """In an `Annotated` type: a JSON Schema of what else a file may say for the setting, which a validator takes."""

    def __init__(self, **schema):
        self.schema = schema

    def __get_pydantic_json_schema__(self, core, handler):
        return {"anyOf": [handler(core), self.schema]}


class Closed(BaseModel):
    """A settings section: an unknown key is an error, and nothing changes once it has been checked."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    # JSON Schemas of what else a file may say for the section, its name alone for instance.
    short_forms: ClassVar[tuple[dict, ...]] = ()
    # Where `name` settles what further keys there are: {name: the `Closed` of these}.
    keys_by_name: ClassVar[dict[str, type["Closed"]]] = {}
    # Whether `true` may stand for a number, for the settings of some section.
    truth_is_a_number: ClassVar[bool] = False

    @model_validator(mode="before")
    @classmethod
    def _none(cls, value):
        """YAML has `null` for what is not there, and people write `none`, as Python has it."""
        if not isinstance(value, dict):
            return value
        return {k: None if isinstance(v, str) and v == "none" and _may_be_none(cls, k) else v for k, v in value.items()}


class Switched(Closed):
    """A section that does nothing where it says nothing: `null`, `none` and `{}` all switch it off."""

    short_forms = ({"enum": [None, "none"]},)

    @model_validator(mode="before")
    @classmethod
    def _off(cls, value):
        return {} if value is None or (isinstance(value, str) and value == "none") else value


def _may_be_none(model, key):
    return key in model.model_fields and type(None) in get_args(model.model_fields[key].annotation)


Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
# A setting that is a path, or a word or a path: text, with `~` written out.
FilePath = Annotated[str, BeforeValidator(lambda v: expanded(v) if isinstance(v, (str, os.PathLike)) else v)]


def one_of(kind, known):
    """For `Annotated[str, one_of("schedule", SCHEDULES)]`: any other name is an error with the nearest match."""

    def check(name):
        if name not in known:
            raise unknown(kind, name, known)
        return name

    check.known = known  # for `kstyle.schema`
    return AfterValidator(check)


def share(total, parts):
    """A whole number shared out in the proportions of `parts`, at least 1 to each: list of int whose sum it is.

    >>> share(10, [300, 100, 100])
    [6, 2, 2]
    """
    shares = [max(1, total * part // sum(parts)) for part in parts]
    while sum(shares) != total:  # what rounding left over goes to the largest share
        largest = shares.index(max(shares))
        shares[largest] += 1 if sum(shares) < total else -1
    return shares


def shipped(name):
    """Where a folder of files that come with kstyle is: in the wheel beside this file, in a checkout one level up."""
    here = Path(__file__).resolve().parent
    for root in (here, here.parent):
        if (root / name).is_dir():
            return root / name
    raise DataError(f"kstyle's own {name} is missing from {here}: reinstall kstyle.")


def folder(kind):
    """Where the files of `kind`, a key of `KINDS`, are."""
    return shipped(f"configs/{kind}")


KINDS = {"stylize": "preset", "train": "recipe", "networks": "network recipe"}


@functools.cache
def added(kind):
    """The names of `kind`, kstyle's and those that users add: `kstyle.open_names.Names`, of mappings."""
    return Names(KINDS[kind], [path.stem for path in folder(kind).glob("*.yaml")])


def names(kind):
    """The names that come with kstyle, and those that users added, sorted."""
    return sorted(added(kind))


def descriptions(kind):
    """What has a name, as {name: what it is}."""
    return {name: read(kind, name)[0].get("description", "") for name in names(kind)}


def presets() -> dict[str, str]:
    """The style presets that come with kstyle, and those that were registered.

    Returns:
        {name: what it is}, sorted by name.

    >>> import kstyle
    >>> kstyle.presets()["gatys"]
    "the authors' PyTorch code, textbook Gram style transfer with L-BFGS"
    """
    return descriptions("stylize")


def read(kind, name):
    """Reads what has a name, or the user's own file, by path; a mapping stands for a file's.

    Returns:
        `(settings as a dict, path)`.

    Raises:
        UsageError: no such name or file.
        DataError: not a YAML mapping.
    """
    if isinstance(name, Mapping):
        return dict(name), Path(KINDS[kind])
    own = Path(name := expanded(name))
    if own.suffix in (".yaml", ".yml") or "/" in str(name):
        path = own
        if not path.is_file():
            raise UsageError(f"There is no file {path}.")
    elif str(name) in added(kind).own:
        return dict(added(kind).own[str(name)]), Path(name)
    else:
        path = folder(kind) / f"{name}.yaml"
        if not path.is_file():
            raise unknown(KINDS[kind], name, names(kind))
    try:
        settings = strict_yaml.parse(read_bytes(path, LARGEST).decode("utf-8-sig"))
    except (UsageError, DataError) as error:
        raise type(error)(f"{one_line(path)}: {str(error).removeprefix(f'{path}: ')}") from error
    except (ValueError, OSError) as error:  # no YAML, no UTF-8
        raise DataError(f"{one_line(path)}: {one_line(error)}") from error
    if not isinstance(settings, dict):
        found = "nothing" if settings is None else type(settings).__name__
        raise DataError(f"{one_line(path)}: expected a mapping of settings, found {found}.")
    return settings, path


def parse_override(text):
    """`"style.weight=20"` -> `("style.weight", 20)`; the value is YAML."""
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise UsageError(f"--set expects key=value, for example style.weight=20; got '{plain(text)}'.")
    try:
        return key.strip(), strict_yaml.parse(value)
    except UsageError as error:
        raise UsageError(f"--set {plain(text)}: {error}") from error
    except ValueError as error:
        raise UsageError(f"--set {plain(text)}: the value is not YAML ({error}).") from error


def parse_overrides(texts):
    """The texts of several `--set`, as {dotted key: value}.

    Raises:
        UsageError: as `parse_override`; or one key has two values.
    """
    found = {}
    for key, value in map(parse_override, texts):
        if key in found and found[key] != value:
            raise UsageError(f"--set {key} is given twice: {shown(found[key])} and {shown(value)}.")
        found.pop(key, None)  # it holds where it was said last: after --set optimizer.name=…, say
        found[key] = value
    return found


def override(settings, key, value):
    """A copy of the nested dict or list `settings` with the dotted `key` set; numbers in it count a list's entries.

    A mapping given for a section is merged into it, an empty one empties it; what a dotted key names, `style.layers`
    say, is replaced.

    Raises:
        UsageError: the key leads into a value, or to no entry of a list.
    """
    return _set(settings, key, value, key)


def _set(settings, key, value, whole):
    head, _, rest = key.partition(".")
    if isinstance(settings, list):
        if not (head.isascii() and head.isdigit() and int(head[:9]) < len(settings)):
            there = f"0 to {len(settings) - 1}" if settings else "none"
            name = whole.removesuffix(key).rstrip(".")
            raise UsageError(f"'{whole}' cannot be set: '{name}' has the entries {there}, and no '{plain(head)}'.")
        place = int(head)
        below = settings[place]
    else:
        place = next((known for known in settings if str(known) == head), head)  # {256: 100} too
        below = settings.get(place)
    if rest:
        below = None if isinstance(below, str) and below == "none" else below
        if below is not None and not isinstance(below, (dict, list)):
            name = whole.removesuffix(rest).rstrip(".")
            raise UsageError(f"'{whole}' cannot be set: '{name}' is the value {shown(below)}, not a section.")
        value = _set({} if below is None else below, rest, value, whole)
    elif "." not in whole and value and isinstance(value, dict) and isinstance(below, dict):
        value = {**below, **value}
    if isinstance(settings, list):
        return [*settings[:place], value, *settings[place + 1 :]]
    return {**settings, place: value}


def flat(value, key=""):
    """{dotted key: value} of what nested dicts and lists hold; empty ones are values.

    >>> flat({"a": {"b": 1, "c": []}, "d": [2]})
    {'a.b': 1, 'a.c': [], 'd.0': 2}
    """
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    below = {k: v for name, each in inner for k, v in flat(each, f"{key}.{name}" if key else str(name)).items()}
    return below or {key: value}


def load(kind, model, name, overrides=None, adjust=None):
    """Reads a file, changes it and checks it.

    Args:
        kind, name: as for `read`.
        model: what it is to be, a `Closed`.
        overrides: {dotted key: value}, see `override`. Where they give a section another `name`, the file's arguments
            of the old one are dropped: those keys that the section passes on and does not list. A section's name may
            stand for the section.
        adjust: `adjust(settings)` gives the changed settings as they are to be checked. None: as they are.

    Returns:
        `(settings, where)`: an instance of `model`, and what errors call it.

    Raises:
        UsageError, DataError: as `read`, `override` and `check`.
    """
    settings, path = read(kind, name)
    where, overrides = path.name, overrides or {}
    if "plugins" in settings:
        plugins.check(settings.pop("plugins"), path, where)
    if overrides:
        ((key, value), *more) = overrides.items()
        where += (
            " with overrides" if more else f" with {plain(key)}={value if isinstance(value, str) else shown(value)}"
        )
    settings = _overridden(model, settings, overrides)
    return check(model, adjust(settings) if adjust else settings, where), where


def _overridden(model, settings, overrides):
    sections = {key: _section(model, [key]) for key in model.model_fields}
    named = {key: section for key, section in sections.items() if "name" in section.model_fields}

    def spelt_out(values):
        return {k: {"name": v} if k in named and isinstance(v, str) else v for k, v in values.items()}

    def changed():
        return functools.reduce(lambda done, change: override(done, *change), overrides.items(), settings)

    settings, overrides = spelt_out(settings), spelt_out(overrides)
    after = changed()
    for key, section in named.items():
        pair, default = (settings.get(key), after.get(key)), section.model_fields["name"].default
        if section.model_config.get("extra") == "allow" and all(isinstance(one, dict) for one in pair):
            before, now = (one.get("name", default) for one in pair)
            if before != now:
                settings = {**settings, key: {k: v for k, v in pair[0].items() if k in section.model_fields}}
    # Once more, and not `after` with less in it: what an override says is of the new name, in whatever order.
    return changed()


def check(model, settings, where):
    """`settings` as an instance of the pydantic `model`.

    Raises:
        UsageError: one line: where, the key, what is wrong with it, and the nearest key that exists.
    """
    try:
        checked = model.model_validate(settings)
        _check_numbers(settings, checked)
        return checked
    except _Impossible as error:
        raise UsageError(f"{where}: {error}") from error
    except ValidationError as error:
        # An unknown key first: a misspelt one is often also the reason why another is missing.
        problem = min(error.errors(), key=lambda e: e["type"] != "extra_forbidden")
        raise UsageError(f"{where}: {_say(model, problem)}") from error


class _Impossible(ValueError):
    pass


def _check_numbers(given, made, key="", truth=False):
    """Raises where a number is not finite, or takes more than 64 bits, or was `true` or `false`.

    Args:
        given, made: the settings before and after they were checked, or what is in them at `key`.
        truth: whether `true` may stand for a number.
    """
    if isinstance(made, BaseModel):
        truth = truth or getattr(type(made), "truth_is_a_number", False)
        made = {**{name: getattr(made, name) for name in type(made).model_fields}, **(made.model_extra or {})}
    if isinstance(made, (dict, list, tuple)):
        for name, value in made.items() if isinstance(made, dict) else enumerate(made):
            if isinstance(name, float):
                _check_numbers(None, name, key)
            if isinstance(given, dict):
                before = given.get(name)
            else:
                before = given[name] if isinstance(given, (list, tuple)) and name in range(len(given)) else None
            _check_numbers(before, value, f"{key}.{name}" if key else str(name), truth)
    elif isinstance(made, (int, float)) and not isinstance(made, bool):
        if isinstance(given, bool) and not truth:
            raise _Impossible(f"'{key}': expected a number; got {str(given).lower()}.")
        if isinstance(made, float) and not math.isfinite(made):
            raise _Impossible(f"'{key}': expected a finite number; got {made}.")
        if isinstance(made, int) and not -(2**63) <= made < 2**63:
            raise _Impossible(f"'{key}': expected a whole number below 2^63, what 64 bits hold; got {shown(made)}.")


def _say(model, problem):
    key = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        known = list(_section(model, problem["loc"][:-1]).model_fields)
        hint = did_you_mean(problem["loc"][-1], known)
        return f"unknown key '{key}'.{hint} Known here: {', '.join(known)}."
    message = problem["msg"].removeprefix("Value error, ").rstrip(".")
    if problem["type"] in ("value_error", "missing"):
        return f"'{key}': {message}." if key else f"{message}."
    return f"'{key}': {message[0].lower()}{message[1:]}; got {shown(problem['input'])}."


def _section(model, location):
    """The model that a place in `model` is of. What is no field, an index or a union's member, leads to no other."""
    for part in location:
        if part in model.model_fields:
            model = next(iter(_models(model.model_fields[part].annotation)), model)
    return model


def _models(annotation):
    """The models in a type, whichever union or list they stand in."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in get_args(annotation) for model in _models(part)]
