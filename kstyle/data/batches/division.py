"""Which pictures are set apart for testing, and which are there more than once: copies stay on one side."""

import hashlib
import zlib

import numpy as np

from kstyle.io.files import plain


def held(labels, contents, fraction, seed):
    """Draws a part of each class, to be set apart. Each class is drawn by itself, so that others may come or go.

    Copies of a picture end up on one side, also where they are under two classes: they are set apart if both classes
    have still room for them. Of a class that is one picture, or copies of one, nothing is set apart.

    Args:
        labels: N texts.
        contents: N texts or bytes, equal where the pictures are.
        fraction: of the pictures of each class, at least one, at most all but one.
        seed: 0 to 2³² - 1.

    Returns: a set of indices.
    """
    by_class, places = {}, {}  # {label: {content: indices}}; {content: {label: indices}}
    for number, (label, content) in enumerate(zip(labels, contents)):
        by_class.setdefault(label, {}).setdefault(content, []).append(number)
        places.setdefault(content, {}).setdefault(label, []).append(number)
    totals = {label: sum(map(len, copies.values())) for label, copies in by_class.items()}
    room = {label: min(max(1, round(fraction * total)), total - 1) for label, total in totals.items()}
    found, lacking = set(), {label for label, wanted in room.items() if wanted}

    def take(content):
        for label, numbers in places[content].items():
            room[label] -= len(numbers)
            lacking.discard(label)
            found.update(numbers)

    def fits(content):
        return all(len(numbers) <= room[label] for label, numbers in places[content].items())

    # First the pictures of several classes. They are sorted by a number that depends on the picture alone, so that a
    # class that is added leaves their order as it is.
    for content in sorted((c for c, of in places.items() if len(of) > 1), key=lambda c: _rank(c, seed)):
        if fits(content):
            take(content)
    for label, copies in by_class.items():
        groups = [content for content in copies if len(places[content]) == 1]
        drawn = np.random.default_rng((seed, zlib.crc32(label.encode("utf-8", "surrogateescape"))))
        groups = [groups[index] for index in drawn.permutation(len(groups))]
        for content in groups:
            if fits(content):
                take(content)
        if label in lacking and groups:  # more copies of each than there is room for
            least = min(groups, key=lambda content: len(copies[content]))
            if len(copies[least]) < totals[label]:
                take(least)
    return found


def _rank(content, seed):
    raw = content if isinstance(content, bytes) else content.encode()
    return hashlib.sha256(f"{seed} ".encode() + raw).digest()


def problems(train, test, classes):
    """What is wrong with two splits of `Photos` that were given as they are, or with the labels of any.

    Returns: sentences without a full stop: how many test pictures are also in train, how many have two classes.
    """
    if train.contents is None or test.contents is None:
        return []
    found, known = [], set(train.contents)
    shared = [path for path, content in zip(test.paths, test.contents) if content in known]
    if shared:
        found.append(
            f"{len(shared):,} of {len(test):,} test pictures are also in train, to the last byte, such as "
            f"{plain(shared[0])}: the score will say too much"
        )
    labels = [classes[label] for split in (train, test) for label in split.labels]
    every = [*train.contents, *test.contents]
    claimed = {}
    for label, content in zip(labels, every):
        claimed.setdefault(content, set()).add(label)
    twice = [number for number, content in enumerate(every) if len(claimed[content]) > 1]
    if twice:
        paths, first = [*train.paths, *test.paths], twice[0]
        other = next(n for n in twice if every[n] == every[first] and labels[n] != labels[first])
        found.append(
            f"{len(twice):,} pictures are there under two classes with the same bytes, such as {plain(paths[first])} "
            f"({plain(labels[first])}) and {plain(paths[other])} ({plain(labels[other])}): one of the labels is wrong"
        )
    return found
