"""Pictures of a training: its curves, and what it confuses.

Drawn with matplotlib's objects, not pyplot, so that no window, no figure and no setting of the caller's is touched.
"""

import warnings
from pathlib import Path

import numpy as np

from kstyle.errors import DataError
from kstyle.io.files import legible, one_line, replacing

# Okabe and Ito's blue and vermilion, which all common kinds of colour vision tell apart, and a grey for the rest.
TRAIN, VALIDATION, GREY = "#0072B2", "#D55E00", "#555555"

# Up to so many classes a cell has room for its number, and every class for its name.
COUNTED, NAMED = 20, 200


def curves(history, path, title=None):
    """Draws loss, accuracy and learning rate against the epoch.

    Args:
        history: a DataFrame of one row an epoch: epoch, loss, accuracy, learning_rate; val_loss and val_accuracy
            where there is validation. Accuracies in [0, 1]. Other columns, NaN and infinite values are left out.
        path: a .png, .svg or .pdf; replaced once the new picture is complete.
        title: None: the name of the folder the picture is in, which is the run's. Cut where it is very long.

    Raises:
        DataError: no epochs, a missing column, or the file cannot be written.
    """
    missing = [c for c in ("epoch", "loss", "accuracy", "learning_rate") if c not in history.columns]
    if missing or not len(history):
        what = f"columns {', '.join(missing)}" if missing else "epochs"
        raise DataError(f"The history has no {what}: there is nothing to draw.")
    path = Path(path)
    figure, axes = _figure((6.4, 7.2), 3, {"height_ratios": [3, 3, 1.6]})
    losses = _lines(axes[0], history, ("loss", "val_loss"))
    axes[0].set_ylabel("loss")
    # Below 3 decades a linear axis shows the end of the training as well.
    if len(losses) and losses.min() > 0 and losses.max() / losses.min() > 1000:
        axes[0].set_yscale("log")
    _lines(axes[1], history, ("accuracy", "val_accuracy"), scale=100)
    axes[1].set_ylabel("accuracy, %")
    rates = _finite(history, "learning_rate")
    # Held through the epoch, as it is by most schedules, and without an end that the last step would hide.
    axes[2].plot(rates["epoch"], rates["learning_rate"], color=GREY, drawstyle="steps-mid", marker=_marker(rates))
    axes[2].set_ylabel("learning rate")
    _rate_axis(axes[2], rates["learning_rate"].to_numpy("float64"))
    axes[2].set_xlabel("epoch")
    axes[2].xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
    axes[2].set_xlim(history["epoch"].min() - 0.5, history["epoch"].max() + 0.5)
    if "val_accuracy" in history and len(best := _finite(history, "val_accuracy")):
        row = best.loc[best["val_accuracy"].idxmax()]
        note = f"best validation {100 * row['val_accuracy']:.2f} % at epoch {row['epoch']:.0f}"
        axes[1].set_title(note, loc="right", fontsize=9, color=VALIDATION)
    if axes[0].get_legend_handles_labels()[1]:
        axes[0].legend(loc="best", frameon=False)
    _title(figure, path, title)
    _save(figure, path)


# Okabe and Ito's other colours, for lines beside the first.
_MORE = (TRAIN, VALIDATION, "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")


def study(points, path, title=None):
    """Draws top-1 against the first of several settings, a line for each combination of the others: the means over the
    trainings, and each training as a dot.

    Args:
        points: a list of ({key: its value as a text}, top-1 in [0, 1]), not empty, all with the same keys.
        path, title: as for `curves`.
    """
    path, (key, *others) = Path(path), list(points[0][0])
    values = list(dict.fromkeys(varied[key] for varied, _ in points))
    numbers = [_number(value) for value in values]
    numeric = None not in numbers
    places = dict(zip(values, numbers if numeric else range(len(values))))
    figure, (axes,) = _figure((6.4, 4.4), 1, None)
    groups = list(dict.fromkeys(tuple(varied[other] for other in others) for varied, _ in points))
    for number, group in enumerate(groups):
        mine = [(places[v[key]], 100 * top) for v, top in points if tuple(v[other] for other in others) == group]
        at, colour = sorted({x for x, _ in mine}), _MORE[number % len(_MORE)]
        means = [np.mean([y for x, y in mine if x == place]) for place in at]
        label = _short(", ".join(f"{other}={value}" for other, value in zip(others, group)), 60)
        line = {"linewidth": 1.6} if numeric else {"linestyle": "none", "markersize": 9}
        axes.plot(at, means, color=colour, label=label, marker="o", **line)
        axes.plot(*zip(*mine), color=colour, marker="o", markersize=3.5, alpha=0.5, linestyle="none")
    if not numeric:
        axes.set_xticks(range(len(values)), [_short(value) for value in values], parse_math=False)
    elif min(numbers) > 0 and max(numbers) / min(numbers) >= 10:
        axes.set_xscale("log")
        axes.set_xticks(numbers, [f"{number:g}" for number in numbers])
        axes.minorticks_off()
    axes.set_xlabel(key, parse_math=False)
    axes.set_ylabel("top-1, % of the test pictures")
    if others:
        axes.legend(loc="best", frameon=False, fontsize=9)
    _title(figure, path, title)
    _save(figure, path)


def _number(text):
    try:
        found = float(text)
    except ValueError:
        return None
    return found if np.isfinite(found) else None


def confusion(matrix, classes, path, title=None):
    """Draws a confusion matrix, each row as shares of its true class.

    Args:
        matrix: (K, K) int, rows the true class, columns the predicted one; an array or a DataFrame. Rows without
            pictures stay blank.
        classes: K names. Up to 20 classes each cell shows its count. Up to 200, at the size of a poster, each is named;
            with more the picture grows no further, and each n-th is.
        path: as for `curves`. title: as for `curves`.

    Raises:
        DataError: the matrix does not fit the names, or the file cannot be written.
    """
    from matplotlib.colors import PowerNorm

    matrix, path, count = np.asarray(matrix), Path(path), len(classes)
    if not count or matrix.shape != (count, count):
        raise DataError(f"Expected a matrix of {count} × {count}, the number of class names; got {matrix.shape}.")
    support = matrix.sum(axis=1, keepdims=True)
    shares = np.divide(matrix, support, out=np.full(matrix.shape, np.nan), where=support > 0)
    # Inches: room for a number of three digits, or for a label of the smallest size that can be read.
    cell = 0.42 if count <= COUNTED else 0.13
    every = -(-count // NAMED)
    named = range(0, count, every)
    names = [_short(classes[i]) for i in named]
    label = 9 if count <= COUNTED else 6.5
    margin = 0.6 + max(map(len, names)) * label * 0.0085
    side = max(cell * min(count, NAMED), 2.4)
    figure, (axes,) = _figure((side + margin + 0.9, side + margin + 0.5), 1, {})
    # Where no numbers show them, single mistakes among hundreds of cells must be seen: shares grow as their root.
    norm = PowerNorm(1.0 if count <= COUNTED else 0.5, 0, 1)
    # Where a cell is smaller than a few pixels, matplotlib smooths: else rows and columns would be left out.
    picture = axes.imshow(shares, cmap="Blues", norm=norm, interpolation="antialiased")
    axes.set_xticks(named, names, rotation=90, fontsize=label, parse_math=False)
    axes.set_yticks(named, names, fontsize=label, parse_math=False)
    axes.tick_params(length=0)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    axes.grid(False)
    for edge in axes.spines.values():
        edge.set_visible(False)
    if count <= COUNTED:
        for i, j in np.argwhere(matrix > 0):
            colour = "white" if shares[i, j] > 0.5 else "black"
            axes.text(j, i, f"{matrix[i, j]}", ha="center", va="center", fontsize=8, color=colour)
    else:
        # A hairline every ten labels, to follow a row by.
        for k in named[10::10]:
            axes.axhline(k - 0.5, color="0.8", linewidth=0.4)
            axes.axvline(k - 0.5, color="0.8", linewidth=0.4)
    bar = figure.colorbar(picture, ax=axes, fraction=0.03, pad=0.02, shrink=min(1.0, 3 / side), anchor=(0, 1))
    bar.set_label("share of the true class")
    bar.outline.set_visible(False)
    _title(figure, path, title)
    _save(figure, path)


def _figure(size, rows, grid):
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, 1, sharex=True, squeeze=False, gridspec_kw=grid)[:, 0]
    for one in axes:
        one.spines[["top", "right"]].set_visible(False)
        one.grid(axis="y", color="0.9", linewidth=0.8)
        one.set_axisbelow(True)
    return figure, axes


def _finite(history, column):
    return history[np.isfinite(history[column].astype("float64"))]


def _marker(rows):
    """A line through one point is invisible."""
    return "o" if len(rows) == 1 else ""


def _lines(axes, history, columns, scale=1):
    """Draws the columns there are and returns all their values."""
    drawn = [np.zeros(0)]
    for column, colour, name in zip(columns, (TRAIN, VALIDATION), ("training", "validation")):
        if column in history and len(rows := _finite(history, column)):
            values = rows[column].to_numpy("float64") * scale
            axes.plot(rows["epoch"], values, color=colour, label=name, linewidth=1.6, marker=_marker(rows))
            drawn.append(values)
    return np.concatenate(drawn)


def _rate_axis(axes, rates):
    """Logarithmic where rates of different decades are held, linear where one curve falls to nothing at its end."""
    # By step, an epoch's rate is its last step's: a cosine's last is 1e-9 of its first, and would rule the axis.
    held = rates[: max(1, len(rates) - max(1, len(rates) // 10))]
    if not len(held) or held.min() <= 0 or held.max() / held.min() < 50:
        axes.set_ylim(bottom=0)
        return
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    if rates.min() < held.min() / 10:
        axes.set_ylim(bottom=held.min() / 3)


def _short(text, length=24):
    text = legible(one_line(text))
    return text if len(text) <= length else text[: length - 1] + "…"


def _title(figure, path, title):
    text = _short(path.resolve().parent.name if title is None else title, 80)
    # A dollar sign in a run's name is no mathematics.
    figure.suptitle(text, x=0.02, ha="left", fontsize=12, parse_math=False)


def _save(figure, path):
    kind = path.suffix.lower().lstrip(".")
    if kind not in ("png", "svg", "pdf"):
        raise DataError(f"{path}: expected a name that ends in .png, .svg or .pdf.")
    with replacing(path) as beside, warnings.catch_warnings():
        # A class name in Chinese is drawn as boxes, if no font has it: nothing to stop a training for.
        warnings.filterwarnings("ignore", "Glyph .* missing from")
        # Tight: the layout lets the names of a long-named class push the axis's own label over the edge.
        figure.savefig(beside, format=kind, dpi=150, bbox_inches="tight", pad_inches=0.12)
