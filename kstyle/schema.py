"""What a settings file may say, as JSON Schema: each key with its type, range, default, and what its docstring says.

Needs no framework. The words are those of the sections' docstrings (`Attributes:`), so that they stand in one place.
"""

import inspect
import re

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema

DIALECT = "https://json-schema.org/draft/2020-12/schema"
_NONE = re.compile(r"\bNone\b")  # as files say it
_NAMED = re.compile(r" {4}(\w+(?:, \w+)*): (.*)")


def described(model):
    """What the docstring of a settings section says: `(what it is, {key: what that is})`, keys of its bases too.

    >>> from kstyle.style.passes.size_plan import Plateau
    >>> described(Plateau)[1]["gain"]
    'a share of the best loss.'
    """
    found = {}
    for each in reversed([base for base in model.__mro__ if "Attributes:" in (base.__doc__ or "")]):
        names = ()
        for line in inspect.cleandoc(each.__doc__).partition("Attributes:\n")[2].splitlines():
            if match := _NAMED.fullmatch(line):
                names = match[1].split(", ")
                found |= dict.fromkeys(names, match[2])
            elif line.strip():  # goes on
                found |= {name: f"{found[name]} {line.strip()}" for name in names}
    own = inspect.cleandoc(model.__doc__ or "").partition("Attributes:")[0].split()
    return " ".join(own), {key: _NONE.sub("`null`", text) for key, text in found.items() if key in model.model_fields}


class _Generator(GenerateJsonSchema):
    def model_schema(self, schema):
        made, section = super().model_schema(schema), schema["cls"]
        made["description"], said = described(section)
        for key, text in said.items():
            made["properties"][key]["description"] = text
            if isinstance(section.model_fields[key].default, BaseModel):  # of many keys, each with its own default
                del made["properties"][key]["default"]
        if section.keys_by_name:
            made["allOf"] = [_of_name(name, keys) for name, keys in section.keys_by_name.items()]
        return {"anyOf": [made, *section.short_forms]} if section.short_forms else made

    def field_title_should_be_set(self, schema):
        return False  # it would be the key again

    def nullable_schema(self, schema):
        return self.get_union_of_schemas([self.generate_inner(schema["schema"]), {"enum": [None, "none"]}])

    def function_after_schema(self, schema):
        made = super().function_after_schema(schema)
        known = getattr(schema["function"]["function"], "known", None)
        return {**made, "examples": list(known)} if known else made  # others may be added, so no enum


def _of_name(name, keys):
    then = keys.model_json_schema(schema_generator=_Generator)
    said = {"required": ["name"], "properties": {"name": {"const": name}}}
    return {"if": said, "then": {key: then[key] for key in ("properties", "required") if key in then}}


def schema(model, name):
    """The JSON Schema of a kind of file.

    Args:
        model: the `kstyle.config.Closed` that it is checked against.
        name: the schema's title.

    Returns:
        A dict. What cannot be told of one key alone, what excludes what for instance, is checked by kstyle only.
    """
    made = model.model_json_schema(schema_generator=_Generator)
    plugins = {"type": "array", "items": {"type": "string"}, "description": "Python files of yours that it needs."}
    properties = {**made.pop("properties"), "plugins": plugins}
    return {"$schema": DIALECT, **made, "title": name, "properties": properties}
