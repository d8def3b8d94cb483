"""Recipes and presets: YAML files read into typed, closed settings, with overrides and errors that name the nearest
match."""

import functools
import os
import re
from pathlib import Path
from typing import Annotated, get_args

import yaml
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from kstyle.errors import DataError, UsageError, did_you_mean, unknown
from kstyle.files import expanded, one_line


class _Loader(yaml.SafeLoader):
    """YAML 1.1 as PyYAML reads it, and 1e-3, which there is a text for want of a dot, as the number it is."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+$"), list("-+0123456789")
)


class Closed(BaseModel):
    """A settings section: an unknown key is an error, and nothing changes once it has been checked."""

    model_config = ConfigDict(extra="forbid", frozen=True)


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

    return AfterValidator(check)


def folder(kind):
    """Where the files of `kind` (`"stylize"` or `"train"`) are: in the wheel beside this file, in a checkout one
    level up."""
    here = Path(__file__).resolve().parent
    for root in (here / "configs", here.parent / "configs"):
        if (root / kind).is_dir():
            return root / kind
    raise DataError(f"kstyle's own configs/{kind} is missing from {here}: reinstall kstyle.")


def names(kind):
    """The names that come with kstyle, sorted."""
    return sorted(path.stem for path in folder(kind).glob("*.yaml"))


def descriptions(kind):
    """The files that come with kstyle, as {name: what it is}."""
    return {name: read(kind, name)[0].get("description", "") for name in names(kind)}


def presets():
    """The style presets that come with kstyle, as {name: what it is}."""
    return descriptions("stylize")


def read(kind, name):
    """Reads a file that comes with kstyle, by name, or the user's own, by path.

    Returns:
        `(settings as a dict, path)`.

    Raises:
        UsageError: no such name or file.
        DataError: not a YAML mapping.
    """
    own = Path(name := expanded(name))
    if own.suffix in (".yaml", ".yml") or "/" in str(name):
        path = own
        if not path.is_file():
            raise UsageError(f"There is no file {path}.")
    else:
        path = folder(kind) / f"{name}.yaml"
        if not path.is_file():
            raise unknown("preset" if kind == "stylize" else "recipe", name, names(kind))
    try:
        settings = yaml.load(path.read_text("utf-8"), _Loader)
    except (yaml.YAMLError, UnicodeDecodeError, OSError) as error:
        raise DataError(f"{path}: {one_line(error)}") from error
    if not isinstance(settings, dict):
        raise DataError(f"{path}: expected a mapping of settings, found {type(settings).__name__}.")
    return settings, path


def parse_override(text):
    """`"style.weight=20"` -> `("style.weight", 20)`; the value is YAML."""
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise UsageError(f"--set expects key=value, for example style.weight=20; got '{text}'.")
    try:
        return key.strip(), yaml.load(value, _Loader)
    except yaml.YAMLError as error:
        raise UsageError(f"--set {text}: the value is not YAML ({one_line(error)}).") from error


def override(settings, key, value):
    """A copy of the nested dict `settings` with the dotted `key` set.

    A mapping given for a section is merged into it; what a dotted key names, `style.layers` say, is replaced.
    """
    head, _, rest = key.partition(".")
    below = settings.get(head)
    if rest:
        if below is not None and not isinstance(below, dict):
            raise UsageError(f"'{key}' cannot be set: '{head}' is the value {below!r}, not a section.")
        value = {**(below or {}), rest: value} if "." not in rest else override(below or {}, rest, value)
    elif isinstance(value, dict) and isinstance(below, dict):
        value = {**below, **value}
    return {**settings, head: value}


def load(kind, model, name, overrides=None):
    """Reads a file, changes it and checks it.

    Args:
        kind, name: as for `read`.
        model: what it is to be, a `Closed`.
        overrides: {dotted key: value}, see `override`. Where they give a section another `name`, the file's arguments
            of the old one are dropped: those keys that the section passes on and does not list. A section's name may
            stand for the section.

    Returns:
        `(settings, where)`: an instance of `model`, and what errors call it.

    Raises:
        UsageError, DataError: as `read`, `override` and `check`.
    """
    settings, path = read(kind, name)
    where, overrides = path.name, overrides or {}
    if overrides:
        where += f" with {'='.join(map(str, *overrides.items()))}" if len(overrides) == 1 else " with overrides"
    return check(model, _overridden(model, settings, overrides), where), where


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
        return model.model_validate(settings)
    except ValidationError as error:
        # An unknown key first: a misspelt one is often also the reason why another is missing.
        problem = min(error.errors(), key=lambda e: e["type"] != "extra_forbidden")
        raise UsageError(f"{where}: {_say(model, problem)}") from error


def _say(model, problem):
    key = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        known = list(_section(model, problem["loc"][:-1]).model_fields)
        hint = did_you_mean(problem["loc"][-1], known)
        return f"unknown key '{key}'.{hint} Known here: {', '.join(known)}."
    message = problem["msg"].removeprefix("Value error, ").rstrip(".")
    if problem["type"] in ("value_error", "missing"):
        return f"'{key}': {message}." if key else f"{message}."
    return f"'{key}': {message[0].lower()}{message[1:]}; got {problem['input']!r}."


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
