"""From what a painting was made with to the command line that paints it again."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from kstyle import config
from kstyle.errors import KStyleError
from kstyle.style import settings
from kstyle.style.jobs import command

FALLBACK = "kstyle"  # the preset that all is said beside, where the painting's own does not come with kstyle


def changes(made: Mapping[str, Any]) -> tuple[str, dict[str, Any]] | None:
    """What is to be said of a painting's settings: `(preset, {dotted key: value})`, as few of these as there can be.

    Args:
        made: as a painting's record, or the recipe in its PNG, has it. It may be a stranger's: it names no file that
            is read.

    Returns:
        None where this version of kstyle does not know such settings.
    """
    own = {key: made[key] for key in settings.StyleSettings.model_fields if key in made}
    try:
        wanted = settings.load(own).model_dump(mode="json")
        preset = made.get("preset") if made.get("preset") in config.names("stylize") else FALLBACK
        base = settings.load(preset).model_dump(mode="json")
        found: dict[str, Any] = {}
        for key, value in wanted.items():
            before = base[key]
            if key == "description" or value == before:
                continue
            if isinstance(value, dict) and isinstance(before, dict) and set(value) == set(before):
                found |= {f"{key}.{name}": each for name, each in value.items() if each != before[name]}
            else:
                found[key] = value
        reached = settings.load(preset, found).model_dump(mode="json")
    except (KStyleError, TypeError, ValueError, RecursionError):
        return None
    same = {key: value for key, value in reached.items() if key != "description"}
    return (preset, found) if same == {k: v for k, v in wanted.items() if k != "description"} else None


def line(
    made: Mapping[str, Any], content: str, styles: Sequence[str], numbers: Mapping[str, Any], masks: Mapping[str, Any]
) -> str:
    """The `kstyle stylize` command of a painting; "" where no command line can say it.

    Args:
        made: as for `changes`.
        content, styles: paths, or words for them.
        numbers: size, steps, seed; a None is left out.
        masks: {"mask": paths, "style-mask": paths}, each for all styles or empty.
    """
    found = changes(made)
    if found is None:
        return ""
    preset, settled = found
    blend = made.get("blend") or []
    given = {
        **numbers, "precision": made.get("precision"),
        "style_weight": ",".join(f"{share:g}" for share in blend) if len(set(blend)) > 1 else None,
    }  # fmt: skip
    texts = [(key, json.dumps(value, ensure_ascii=False)) for key, value in settled.items()]
    more = [word for name, paths in masks.items() for path in paths for word in (f"--{name}", path)]
    if made.get("deterministic"):
        more.append("--deterministic")
    return command.stylize(content, styles, {"preset": preset}, given, texts, more)
