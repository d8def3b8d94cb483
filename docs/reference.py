"""Writes docs/settings.md, every key of presets and recipes, from the sections' own types and docstrings.

python docs/reference.py
"""

import json
import re
from pathlib import Path

from kstyle.cli.schema import model_of
from kstyle.schema import schema

HERE = Path(__file__).parent
KINDS = (
    ("preset", "Presets", "`kstyle stylize --preset FILE`, [presets.md](presets.md)"),
    ("recipe", "Recipes", "`kstyle train FILE`, [recipes.md](recipes.md)"),
    ("network", "Network recipes", "`kstyle learn --recipe FILE`, [networks.md](networks.md)"),
    (
        "arbitrary",
        "Recipes of a network for any style",
        "`kstyle learn --arbitrary --recipe FILE`, [networks.md](networks.md)",
    ),
)
HEAD = """# Settings

Every key that a file of settings may have, its type and range, what holds where nothing is said, and what it means.
`--set key=value` changes any of them, in Python a keyword or `overrides`; of a section by a dot:
`--set style.scale=0.5`, `--set stages.0.epochs=3`. `null` is nothing, where the table has it. An unknown key is an
error that names the nearest one. What belongs together is in [presets.md](presets.md) and [recipes.md](recipes.md).

For an editor: `kstyle schema preset > preset.schema.json` (or `recipe`, `network`, `arbitrary`) and, as the first line
of a file, `# yaml-language-server: $schema=preset.schema.json`.

This page is made from the code by `make reference`.
"""


def page():
    """The page's text."""
    return "\n".join([HEAD, *(chapter for kind in KINDS for chapter in _chapter(*kind))])


def _chapter(name, title, where):
    made = schema(model_of(name), name)
    yield f"## {title}\n\n{where}. {made['description']}\n"
    yield _table(made, made, name)
    for reference, paths in _places(made).items():
        section = _section(made["$defs"][reference])
        yield f"### {name}: {', '.join(f'`{path}`' for path in paths)}\n\n{section['description']}\n"
        yield _table(section, made, name)
        for rule in section.get("allOf", ()):
            yield f"With `name: {rule['if']['properties']['name']['const']}`:\n"
            yield _table(rule["then"], made, name)


def _places(whole):
    """{definition of a section: where it stands}, those nearest to the top first."""
    found, left = {}, [("", whole)]
    while left:
        path, section = left.pop(0)
        for key, said in section["properties"].items():
            for reference, many in _sections(said):
                full = f"{path}{key}{'[]' if many else ''}"
                if reference not in found:
                    left.append((f"{full}.", _section(whole["$defs"][reference])))
                found.setdefault(reference, []).append(full)
    return found


def _section(definition):
    return definition["anyOf"][0] if "anyOf" in definition else definition


def _sections(said):
    """The sections that a key holds, by the names of their definitions, and whether it holds a list of them."""
    text = json.dumps(said)
    return [(found, "items" in said) for found in dict.fromkeys(re.findall(r'"#/\$defs/(\w+)"', text))]


def _table(section, whole, name):
    rows = ["| key | may be | default | |", "| --- | --- | --- | --- |"]
    for key, said in section["properties"].items():
        default = "needed" if key in section.get("required", ()) else _default(said)
        rows.append(f"| `{key}` | {_cell(_type(said, whole))} | {default} | {_cell(said['description'])} |")
    return "\n".join(rows) + "\n"


def _cell(text):
    return text.replace("|", "\\|")


def _default(said):
    if "default" not in said:
        return ""
    value = said["default"]
    return "" if value == "" else f"`{json.dumps(value, ensure_ascii=False).strip(chr(34))}`"


def _type(said, whole):
    if "$ref" in said:
        definition = whole["$defs"][said["$ref"].rpartition("/")[2]]
        short = [_type(each, whole) for each in definition.get("anyOf", ())[1:]]
        return " or ".join(["a section", *short])
    if "anyOf" in said:
        return " or ".join(dict.fromkeys(_type(each, whole) for each in said["anyOf"]))
    if "enum" in said:
        values = [value for value in said["enum"] if value != "none" or None not in said["enum"]]
        return ", ".join(f"`{json.dumps(value).strip(chr(34))}`" for value in values)
    if "const" in said:
        return f"`{json.dumps(said['const']).strip(chr(34))}`"
    return _of_type(said, whole)


def _of_type(said, whole):
    kind = said.get("type")
    if kind in ("integer", "number"):
        return ("a whole number" if kind == "integer" else "a number") + _range(said)
    if kind == "string":
        return ", ".join(f"`{name}`" for name in said["examples"]) if "examples" in said else "text"
    if kind == "boolean":
        return "`true`, `false`"
    if kind == "array" and "prefixItems" in said:
        return f"[{', '.join(_type(each, whole) for each in said['prefixItems'])}]"
    if kind == "array":
        return f"a list: {_type(said['items'], whole)}" if said["items"] else "a list"
    if "properties" in said:
        return f"{{{', '.join(said['properties'])}}}"
    inner = said.get("additionalProperties")
    return f"{{…: {_type(inner, whole)}}}" if isinstance(inner, dict) and inner else "{…}" if kind else "anything"


def _range(said):
    low, above = said.get("minimum"), said.get("exclusiveMinimum")
    high, below = said.get("maximum"), said.get("exclusiveMaximum")
    start = f"from {low:g}" if low is not None else f"above {above:g}" if above is not None else ""
    end = f"to {high:g}" if high is not None else f"to below {below:g}" if below is not None else ""
    return "".join(f" {part}" for part in (start, end) if part)


if __name__ == "__main__":
    (HERE / "settings.md").write_text(page(), "utf-8")
