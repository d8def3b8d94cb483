"""`kstyle.inspect.layers`: a network's layers as a table."""

import math
from typing import Any

from kstyle.inspect import fields
from kstyle.inspect import subject as subjects

COLUMNS = ("kind", "shape", "parameters", "field", "stride")


def layers(model: Any, weights: Any = None, *, values: bool = True, **options: Any) -> Any:
    """The layers of a network, in the order in which they are computed.

    Args:
        model, weights, values, options: as for `kstyle.inspect.open`. With `values=False` a network by name needs no
            weights.

    Returns:
        A DataFrame, its index the layers' names: `kind`, of the layer; `shape`, what it gives without the batch, None:
        as the picture has it; `parameters`; `field`, (height, width) pixels of the input that one of its outputs may
        see; `stride`, (y, x) pixels of the input between two outputs beside each other; both None where every output
        sees the whole picture.

    Raises: as `kstyle.inspect.open`.

    >>> import kstyle
    >>> kstyle.inspect.layers("vgg19", values=False).loc["block5_conv1", ["field", "stride"]].tolist()
    [(156, 156), (16, 16)]
    """
    import pandas as pd

    subject = subjects.open(model, weights, values=values, **options)
    found, rows, counted = fields.of(subject.graph), {}, set()
    for node in subject.graph.nodes:
        if node.name not in subject.outputs:
            continue
        layer, field = node.operation, found[node.name]
        weights = [] if id(layer) in counted else getattr(layer, "weights", ())  # a layer that is used twice
        counted.add(id(layer))
        rows[node.name] = {
            "kind": type(layer).__name__,
            "shape": tuple(getattr(node.output, "shape", ()))[1:],
            "parameters": sum(math.prod(weight.shape) for weight in weights),
            "field": field and field.size,
            "stride": field and field.stride,
        }
    return pd.DataFrame(list(rows.values()), index=pd.Index(rows, name="layer"), columns=COLUMNS, dtype=object)


def records(table):
    """The rows of what `layers` gave as a list of dicts for JSON."""
    return [{"name": name, **row} for name, row in table.to_dict("index").items()]


def text(table):
    """What `layers` gave as lines for a terminal."""
    rows = [("layer", "kind", "output", "parameters", "field", "stride")]
    for name, row in table.to_dict("index").items():
        sides = [_sides(row[key]) if row[key] else "all" for key in ("field", "stride")]
        shape = " × ".join("·" if side is None else str(side) for side in row["shape"])
        rows.append((name, row["kind"], shape, f"{row['parameters']:,}", *sides))
    widths = [max(map(len, column)) for column in zip(*rows)]
    lines = [
        "  ".join(f"{cell:{'<' if place < 2 else '>'}{width}}" for place, (cell, width) in enumerate(zip(row, widths)))
        for row in rows
    ]
    total = table["parameters"].sum()
    return "\n".join([*lines, f"{len(table)} layers, {total:,} parameters; field and stride in pixels of the input"])


def _sides(pair):
    return f"{pair[0]:g}" if pair[0] == pair[1] else f"{pair[0]:g} × {pair[1]:g}"
