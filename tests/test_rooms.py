"""The rooms of the house: which may use which, how large they may be. docs/architecture.md says what each is for."""

import ast
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted((ROOT / "kstyle").rglob("*.py"))
}
# From the ground up. A room, or a file directly in kstyle, uses what is above it in this list only.
GROUND_UP = (
    *("kstyle.errors", "kstyle.startup", "kstyle", "kstyle.open_names"),
    *("kstyle.io", "kstyle.io.crew", "kstyle.plugins", "kstyle.strict_yaml", "kstyle.config"),
    *("kstyle.schema", "kstyle.settings"),
    *("kstyle.net", "kstyle.pictures", "kstyle.pages", "kstyle.pictures.films"),
    *("kstyle.backend.base", "kstyle.backend", "kstyle.backend.by_torch"),
    *("kstyle.nn", "kstyle.nn.aims", "kstyle.optimizers", "kstyle.aims"),
    *("kstyle.models.networks", "kstyle.models.networks.mobile", "kstyle.models.networks.small"),
    *("kstyle.models.rows", "kstyle.models", "kstyle.networks"),
    *("kstyle.data.batches", "kstyle.data.photos", "kstyle.data.sets", "kstyle.data.lists", "kstyle.data"),
    *("kstyle.style.losses", "kstyle.losses", "kstyle.style.colour", "kstyle.style.passes", "kstyle.style.objectives"),
    *(
        "kstyle.style.engine",
        "kstyle.style.keeping",
        "kstyle.style.networks",
        "kstyle.style",
        "kstyle.style.learning",
        "kstyle.style.judge",
        "kstyle.style.jobs.films",
        "kstyle.style.jobs",
    ),
    *(
        "kstyle.training.augment",
        "kstyle.augmentations",
        "kstyle.training.boxes",
        "kstyle.training.aims",
        "kstyle.training.schedules",
        "kstyle.schedules",
        "kstyle.training.loop",
        "kstyle.callbacks",
        "kstyle.training.setup",
    ),
    *("kstyle.training.results", "kstyle.training"),
    *("kstyle.inspect", "kstyle.inspect.why", "kstyle.inspect.near", "kstyle.inspect.ascent", "kstyle.inspect.pages"),
    *("kstyle.hub", "kstyle.reports", "kstyle.serve"),
    *(
        "kstyle.cli.common",
        "kstyle.cli.style",
        "kstyle.cli.training",
        "kstyle.cli.inspect",
        "kstyle.cli",
        "kstyle.__main__",
    ),
)
MOST_FILES, MOST_LINES_A_ROOM, MOST_LINES = 12, 1800, 400


def room(name):
    """Of a module: its folder; of a file directly in kstyle the file, and of kstyle/__init__.py kstyle."""
    package = name if FILES[name].name == "__init__.py" else name.rpartition(".")[0]
    return name if package == "kstyle" else package


def imported(name):
    """The modules of kstyle that a module imports anywhere, also inside functions."""
    tree = ast.parse(FILES[name].read_text("utf-8"))
    if name in ("kstyle", "kstyle.inspect"):  # what is imported for type checkers only is public, from every room
        tree.body = [node for node in tree.body if not isinstance(node, ast.If)]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in FILES)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{name}: imports are absolute"
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                if full in FILES or node.module in FILES:
                    yield full if full in FILES else node.module


def test_every_room_has_its_place():
    """Failure: a new room is in no list, and nothing says what it may use."""
    assert {room(name) for name in FILES} == set(GROUND_UP)


@pytest.mark.parametrize("name", FILES)
def test_imports_go_down(name):
    """Failure: a lower room uses a higher one, or two use each other: neither can be read or changed by itself."""
    mine = GROUND_UP.index(room(name))
    higher = [other for other in imported(name) if GROUND_UP.index(room(other)) > mine]
    assert not higher, f"{name} uses {higher}"


def test_style_and_training_do_not_know_each_other():
    """Failure: who changes a loss of paintings has to look at trainings too."""
    for name in FILES:
        other = {"style": "kstyle.training", "training": "kstyle.style"}.get(name.split(".")[1] if "." in name else "")
        assert not other or not [used for used in imported(name) if used.startswith(other)], name


def test_rooms_and_files_can_be_read():
    """Failure: a file that nobody reads in one sitting, a room in which nobody finds the file."""
    lines = {name: len(path.read_text("utf-8").splitlines()) for name, path in FILES.items()}
    assert not {name: count for name, count in lines.items() if count > MOST_LINES}
    assert not {place: count for place, count in Counter(map(room, FILES)).items() if count > MOST_FILES}
    sums = Counter()
    for name, count in lines.items():
        sums[room(name)] += count
    assert not {place: count for place, count in sums.items() if count > MOST_LINES_A_ROOM}
