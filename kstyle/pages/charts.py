"""Curves as a page has them, for charts.js."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

MOST = 1500  # points a line: a page is no wider


def chart(
    title: str,
    axis: str,
    x: Sequence[float],
    lines: Mapping[str, Sequence[float | None]],
    *,
    log: bool = False,
    marks: Iterable[tuple[float, str]] = (),
) -> dict[str, Any]:
    """A plot for `parts.chart` of templates/parts.html.jinja.

    Args:
        title: above it. axis: what `x` counts.
        x: N numbers, ascending.
        lines: {name: N numbers}; None or NaN: the line has a gap there.
        log: whether it is logarithmic at first; a button changes that.
        marks: `(at, label)`, each a dashed upright line.

    Returns:
        A dict for JSON, with at most 1500 points a line.

    >>> from kstyle.pages.charts import chart
    >>> chart("loss", "step", [0, 1], {"loss": [2.0, float("nan")]})["lines"]
    [{'name': 'loss', 'values': [2.0, None]}]
    """
    every = -(-len(x) // MOST) or 1
    kept = [*range(0, len(x), every)]
    if len(x) and kept[-1] != len(x) - 1:
        kept.append(len(x) - 1)
    made = [{"name": name, "values": [_number(values[i]) for i in kept]} for name, values in lines.items()]
    ends = [f"{line['name']} ends at {_last(line['values'])}" for line in made]
    return {
        "title": title, "axis": axis, "x": [_number(x[i]) for i in kept], "lines": made, "log": log,
        "marks": [{"at": at, "label": label} for at, label in marks],
        "said": f"{title} by {axis}: {', '.join(ends)}",
        "note": "" if every == 1 else f"Of {len(x):,} points one in {every} is drawn.",
    }  # fmt: skip


def _number(value):
    if value is None or not math.isfinite(value):
        return None
    return int(value) if float(value).is_integer() and abs(value) < 1e15 else float(f"{value:.6g}")


def _last(values):
    return next((f"{value:.4g}" for value in reversed(values) if value is not None), "no number")
