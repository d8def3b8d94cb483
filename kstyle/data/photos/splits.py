"""Folders, lists and rows that are splits: which is for training and which for testing, by what they are called."""

import logging
import os
import re

from kstyle.errors import DataError
from kstyle.io.files import plain

log = logging.getLogger("kstyle")

# Of a file beside train.txt that lists test pictures, the preferred first.
TESTS = ("test", "testing", "val", "valid", "validation", "eval")
_CALLED = re.compile(
    "(?:seg|images?|imgs?|data|dataset)?"
    "(?:(?P<train>train|training|trn)|(?P<test>tests?|testing|tst)|(?P<val>val|valid|validation|eval|evaluation))"
    "(?:set|data|dataset|images?|imgs?|split|folder)?[0-9]*"
)
# What lies beside the pictures of published sets; masks are pictures, and no class.
_BESIDE = re.compile("(?:annotations?|labels?|masks?|trimaps?|bboxes|boxes|meta|metadata|docs?|lists?|splits?)")


def role(name):
    """`"train"`, `"test"` or `"val"` for a split's usual names in any case, such as Training, seg_test, val2017; else
    None.

    >>> role("Training_Set"), role("seg_test"), role("valid"), role("trains")
    ('train', 'test', 'val', None)
    """
    found = _CALLED.fullmatch(_letters(name))
    return found.lastgroup if found else None


def _named(names):
    """{name: role} of the folders that have one; where none has, of flowers_train and flowers_test, and such."""
    named = {name: role(name) for name in names if role(name)}
    for place in () if named else (0, -1):
        alike = {}  # {the other words: {name: role of the word in that place}}
        for name in names:
            words = re.split(r"[\W_]+", name.casefold())
            part = role(words.pop(place))
            if part:
                alike.setdefault(tuple(words), {})[name] = part
        for found in alike.values():
            if {"train"} < set(found.values()):
                return found
    return named


def _letters(name):
    return re.sub(r"[\W_]+", "", name.casefold())


def chosen(roles, where):
    """Which of the roles that are there is the test split: `"test"` before `"val"`; None where neither is.

    A warning says so where both are. `where`: what to name in it.
    """
    tests = [name for name in ("test", "val") if name in roles]
    if tests[1:]:
        log.warning("%s: '%s' is the test split; not read: %s.", where, *tests)
    return tests[0] if tests else None


def find(root, folders, pictures, deeper=True):
    """The folders of a set that are its splits.

    A folder is a split if it is called so and holds folders, which are then its classes; one that holds nothing but a
    folder of the same role, as `seg_train/seg_train/`, stands for that. A class may be called train, then.

    Args:
        root: the set's folder.
        folders: `folders(path)`: the names of the folders in one, without the hidden.
        pictures: `pictures(path)`: whether there is anything in or below a folder that may be a picture.
        deeper: whether to look into a folder that is alone in `root`, as an archive leaves it.

    Returns: {"train": path} and {"test": path}, or one of the two; {} where the folders of `root` are classes. Where
        all that `root` holds is a folder with splits, they are those.

    Raises:
        DataError: they cannot be classes, and not be read as splits either.
    """
    inside = folders(root)
    named = _named(inside)
    if not named:
        alone = [name for name in inside if not _BESIDE.fullmatch(_letters(name))]
        return find(os.path.join(root, *alone), folders, pictures, False) if deeper and len(alone) == 1 else {}
    divided = {}  # {role: [(name, path)]} of the splits that hold classes
    for name, part in named.items():
        path = os.path.join(root, name)
        while (below := folders(path)) and len(below) == 1 and role(below[0]) == part:
            path = os.path.join(path, below[0])
        if below:
            divided.setdefault(part, []).append((name, path))
    parts = set(named.values())
    if not divided and len(parts) == 1:
        return {}  # a class that is called so
    others = [name for name in inside if name not in named and pictures(os.path.join(root, name))]
    unread = [name for name in inside if name not in named and name not in others]
    shown = ", ".join(f"{plain(name)}/" for name in inside[:6])
    test = next((part for part in ("test", "val") if part in divided), None)
    if test and "train" not in parts and not others:
        return {"test": divided[test][0][1]}
    if "train" not in divided:
        if ("train" in parts and len(parts) > 1) or (not others and (divided or len(parts) > 1)):
            raise DataError(
                f"{root}: {shown} are called like splits, and train has no folder for each class: expected a folder "
                "for each class, or train/ and test/ with one for each."
            )
        return {}
    beside = [name for name in others if _BESIDE.fullmatch(_letters(name))]
    rest = [name for name in others if name not in beside]
    if rest and not {"test", "val"} & set(divided):
        raise DataError(
            f"{root}: {divided['train'][0][0]}/ holds folders, as a split does, and beside it is {plain(rest[0])}/ "
            "with pictures, as a class is: expected splits or classes alone. Move one away, or write a table (csv)."
        )
    if len(divided["train"]) > 1:
        several = ", ".join(f"{plain(name)}/" for name, _ in divided["train"])
        raise DataError(f"{root}: expected one folder to train on, found {several}: move the others away.")
    found = {"train": divided["train"][0][1]} | ({"test": divided[test][0][1]} if test else {})
    read = {divided["train"][0][0]} | ({divided[test][0][0]} if test else set())
    left = [name for name in inside if name not in read and name not in unread]
    if left:
        log.warning("%s: %s; not read: %s.", root, _said(read), ", ".join(plain(name) for name in left))
    return found


def _said(read):
    return f"the splits are {' and '.join(f'{plain(name)}/' for name in sorted(read, key=str.casefold, reverse=True))}"
