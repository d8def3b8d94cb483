"""YAML as settings need it: each key once, numbers that a computer has, and nothing that grows without end."""

import re

import yaml

from kstyle.errors import UsageError
from kstyle.io.files import one_line, plain

# Far more than any recipe has. Aliases count as often as they stand for something.
MOST_LEVELS, MOST_VALUES, MOST_DIGITS = 50, 100_000, 100


class _Loader(yaml.SafeLoader):
    """YAML 1.1 as PyYAML reads it, and 1e-3, which there is a text for want of a dot, as the number it is."""

    level = 0

    def compose_node(self, parent, index):
        self.level += 1
        if self.level > MOST_LEVELS:
            raise UsageError(f"{_line(self.peek_event())}: more than {MOST_LEVELS} levels, one in another.")
        try:
            return super().compose_node(parent, index)
        finally:
            self.level -= 1


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+$"), list("-+0123456789")
)


def parse(text):
    """What a YAML text holds.

    Raises:
        UsageError: it is YAML, but a key is given twice (both places are named), a whole number has more digits than a
            computer's, or it is nested or repeated without end.
        ValueError: it is no YAML. Both in one line.
    """
    loader = None
    try:
        loader = _Loader(text)  # which looks for characters that YAML does not have
        node = loader.get_single_node()
        if node is None:
            return None
        _examine(node, loader)
        return loader.construct_document(node)
    except UsageError:
        raise
    except Exception as error:  # PyYAML's own, and what making a date or a number of a text raises
        raise ValueError(plain(one_line(error), 300)) from error
    finally:
        if loader:
            loader.dispose()


def _examine(root, loader):
    count, left = 0, [(root, "", 1)]
    while left:
        node, key, level = left.pop()
        count += 1
        if level > MOST_LEVELS or count > MOST_VALUES:
            raise UsageError(f"{_line(node)}: '{key}' repeats itself by its aliases: too much for settings.")
        if isinstance(node, yaml.MappingNode):
            places = {}
            for name, value in node.value:
                text = plain(name.value) if isinstance(name, yaml.ScalarNode) else "?"
                below = f"{key}.{text}" if key else text
                if isinstance(name, yaml.ScalarNode):
                    _check_digits(name, below)
                    _once(places, name, below, loader)
                left.append((value, below, level + 1))
        elif isinstance(node, yaml.SequenceNode):
            left += [
                (value, f"{key}.{number}" if key else str(number), level + 1) for number, value in enumerate(node.value)
            ]
        else:
            _check_digits(node, key)


def _once(places, name, key, loader):
    # Where two keys are one to Python (1 and 01), one of the two would be lost.
    made = "<<" if name.tag == "tag:yaml.org,2002:merge" else loader.construct_object(name, deep=True)
    before = places.setdefault(made, name)
    if before is not name:
        first, second = before.start_mark, name.start_mark
        if first.line == second.line:
            where = f"in line {first.line + 1}, columns {first.column + 1} and {second.column + 1}"
        else:
            where = f"in line {first.line + 1} and in line {second.line + 1}"
        raise UsageError(f"the key '{key}' is given twice, {where}.")


def _check_digits(node, key):
    if node.tag == "tag:yaml.org,2002:int" and len(node.value) > MOST_DIGITS:
        raise UsageError(f"{_line(node)}: '{key}' is a whole number of {len(node.value)} digits: too large.")


def _line(node):
    return f"line {node.start_mark.line + 1}"
